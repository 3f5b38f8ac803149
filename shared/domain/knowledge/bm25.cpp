#include "shared/domain/knowledge/bm25.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

namespace millrace::domain::knowledge {
namespace {

constexpr std::uint32_t k_count_bits = 8, k_count_max = 255;
constexpr std::size_t k_slots_max = std::size_t{1} << 24;
constexpr std::size_t k_dead_min = 256;  // a small index is purged this seldom at least

std::size_t bucket(Term term, std::size_t size) noexcept {
    return (static_cast<std::uint64_t>(term) * 0x9E3779B97F4A7C15ULL >> 32) & (size - 1);
}

}  // namespace

Bm25Index::Postings::Postings(Postings&& other) noexcept
    : inline_{}, size_(other.size_), capacity_(other.capacity_) {
    std::memcpy(inline_, other.inline_, sizeof inline_);
    other.size_ = 0;
    other.capacity_ = 2;
}

Bm25Index::Postings& Bm25Index::Postings::operator=(Postings&& other) noexcept {
    if (this == &other) return *this;
    this->~Postings();
    return *new (this) Postings(std::move(other));
}

Bm25Index::Postings::~Postings() {
    if (capacity_ > 2) std::free(heap_);
}

void Bm25Index::Postings::push(Posting posting) {
    if (size_ == capacity_) {
        const std::uint32_t capacity = capacity_ < 8 ? 4 + capacity_ : capacity_ + capacity_ / 4;
        void* grown = std::realloc(capacity_ > 2 ? heap_ : nullptr, capacity * sizeof(Posting));
        if (!grown) throw std::bad_alloc();
        if (capacity_ == 2) std::memcpy(grown, inline_, sizeof inline_);
        heap_ = static_cast<Posting*>(grown);
        capacity_ = capacity;
    }
    data()[size_++] = posting;
}

const Bm25Index::Entry* Bm25Index::find(Term term) const noexcept {
    if (table_.empty()) return nullptr;
    for (std::size_t at = bucket(term, table_.size());; at = (at + 1) & (table_.size() - 1)) {
        if (!table_[at].used) return nullptr;
        if (table_[at].term == term) return &table_[at];
    }
}

Bm25Index::Entry& Bm25Index::find_or_add(Term term) {
    if ((terms_ + 1) * 4 > table_.size() * 3) grow();
    for (std::size_t at = bucket(term, table_.size());; at = (at + 1) & (table_.size() - 1)) {
        Entry& entry = table_[at];
        if (!entry.used) {
            entry.used = true;
            entry.term = term;
            ++terms_;
            return entry;
        }
        if (entry.term == term) return entry;
    }
}

/// Also forgets terms that no chunk holds any more.
void Bm25Index::grow() {
    std::vector<Entry> old = std::move(table_);
    std::size_t kept = 0;
    for (const Entry& entry : old) kept += entry.used && !entry.postings.all().empty() ? 1U : 0U;
    std::size_t size = 1024;
    while ((kept + 1) * 3 > size * 2) size *= 2;
    table_ = std::vector<Entry>(size);
    terms_ = kept;
    for (Entry& entry : old) {
        if (!entry.used || entry.postings.all().empty()) continue;
        std::size_t at = bucket(entry.term, size);
        while (table_[at].used) at = (at + 1) & (size - 1);
        table_[at] = std::move(entry);
    }
}

std::uint32_t Bm25Index::take_slot() {
    if (!free_slots_.empty()) {
        const auto slot = free_slots_.back();
        free_slots_.pop_back();
        return slot;
    }
    check(slots_.size() < k_slots_max, "an index holds less than 2^24 chunks");
    slots_.emplace_back();
    return static_cast<std::uint32_t>(slots_.size() - 1);
}

void Bm25Index::add_document(base::FileId file, std::span<const Chunk> chunks) {
    remove_document(file);
    Document document{};
    if (free_files_.empty()) {
        document.number = static_cast<std::uint32_t>(files_.size());
        files_.push_back(file);
    } else {
        document.number = free_files_.back();
        free_files_.pop_back();
        files_[document.number] = file;
    }
    for (const Chunk& chunk : chunks) {
        std::uint64_t length = 0;
        for (const auto& term : chunk.terms) length += term.count;
        if (length == 0) continue;
        const auto slot = take_slot();
        slots_[slot] = {document.number, chunk.index,
                        static_cast<std::uint32_t>(std::min<std::uint64_t>(length, UINT32_MAX))};
        length_sum_ += slots_[slot].length;
        document.slots.push_back(slot);
        for (const auto& [term, count] : chunk.terms) {
            find_or_add(term).postings.push(slot << k_count_bits | std::min(count, k_count_max));
        }
    }
    live_ += document.slots.size();
    documents_.emplace(file, std::move(document));
}

void Bm25Index::remove_documents(std::span<const base::FileId> files) {
    for (const auto& file : files) {
        const auto found = documents_.find(file);
        if (found == documents_.end()) continue;
        for (const auto slot : found->second.slots) {
            length_sum_ -= slots_[slot].length;
            slots_[slot].length = 0;
            dead_slots_.push_back(slot);
        }
        live_ -= found->second.slots.size();
        free_files_.push_back(found->second.number);
        documents_.erase(found);
    }
    if (dead_slots_.size() > std::max(k_dead_min, live_ / 4)) purge();
}

/// Takes the postings of dead slots away, so that the slots can be used again.
void Bm25Index::purge() {
    for (Entry& entry : table_) {
        auto all = entry.postings.all();
        const auto gone = std::ranges::remove_if(
            all, [&](Posting p) { return slots_[p >> k_count_bits].length == 0; });
        entry.postings.resize_down(static_cast<std::uint32_t>(all.size() - gone.size()));
    }
    free_slots_.insert(free_slots_.end(), dead_slots_.begin(), dead_slots_.end());
    dead_slots_.clear();
}

std::size_t Bm25Index::live_postings(const Entry& entry) const noexcept {
    const auto all = entry.postings.all();
    if (dead_slots_.empty()) return all.size();
    return static_cast<std::size_t>(std::ranges::count_if(
        all, [&](Posting p) { return slots_[p >> k_count_bits].length != 0; }));
}

double Bm25Index::idf(std::size_t with) const noexcept {
    const auto n = static_cast<double>(live_);
    const auto df = static_cast<double>(with);
    return std::log1p((n - df + 0.5) / (df + 0.5));
}

void Bm25Index::accumulate(const Entry& entry, double weight, double idf,
                           std::span<const float> norms, std::span<float> scores,
                           std::span<float> coverage) const {
    const auto gain = static_cast<float>(weight * idf * (options_.k1 + 1));
    const auto covered = static_cast<float>(weight * idf);
    for (const Posting posting : entry.postings.all()) {
        const auto slot = posting >> k_count_bits;
        const auto count = static_cast<float>(posting & k_count_max);
        scores[slot] += gain * count / (count + norms[slot]);
        coverage[slot] += covered;
    }
}

std::vector<Retrieved> Bm25Index::top_k(std::span<const QueryTerm> query, std::size_t k,
                                        const FileFilter& accept) const {
    if (live_ == 0 || k == 0) return {};
    struct Weighted {
        const Entry* entry;
        double weight, idf;
    };
    std::vector<Weighted> terms;
    double idf_all = 0;
    for (const auto& [term, weight] : query) {
        const Entry* entry = find(term);
        const auto with = entry ? live_postings(*entry) : 0;
        const double rarity = idf(with);
        idf_all += weight * rarity;
        if (with > 0) terms.push_back({entry, weight, rarity});
    }
    if (terms.size() > options_.query_terms_max) {
        const auto end = terms.begin() + static_cast<std::ptrdiff_t>(options_.query_terms_max);
        std::ranges::nth_element(terms, end, std::greater<>{}, &Weighted::idf);
        terms.erase(end, terms.end());
    }
    const double average = static_cast<double>(length_sum_) / static_cast<double>(live_);
    std::vector<float> norms(slots_.size()), scores(slots_.size()), coverage(slots_.size());
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        norms[i] = static_cast<float>(options_.k1 *
                                      (1 - options_.b + options_.b * slots_[i].length / average));
    }
    for (const auto& [entry, weight, rarity] : terms)
        accumulate(*entry, weight, rarity, norms, scores, coverage);
    return best(scores, coverage, idf_all, k, accept);
}

std::vector<Retrieved> Bm25Index::best(std::span<const float> scores,
                                       std::span<const float> coverage, double weight_all,
                                       std::size_t k, const FileFilter& accept) const {
    const auto better = [&](std::uint32_t a, std::uint32_t b) {
        if (scores[a] != scores[b]) return scores[a] > scores[b];
        const auto& left = files_[slots_[a].document];
        const auto& right = files_[slots_[b].document];
        return left != right ? left < right : slots_[a].chunk_index < slots_[b].chunk_index;
    };
    std::vector<std::uint32_t> heap;  // the worst of the best on top
    for (std::uint32_t slot = 0; slot < scores.size(); ++slot) {
        if (scores[slot] <= 0 || slots_[slot].length == 0 ||
            (heap.size() == k && !better(slot, heap.front())))
            continue;
        if (accept && !accept(files_[slots_[slot].document])) continue;
        if (heap.size() == k) {
            std::ranges::pop_heap(heap, better);
            heap.pop_back();
        }
        heap.push_back(slot);
        std::ranges::push_heap(heap, better);
    }
    std::ranges::sort_heap(heap, better);
    std::vector<Retrieved> out;
    out.reserve(heap.size());
    for (const auto slot : heap) {
        const double covered =
            weight_all > 0 ? static_cast<double>(coverage[slot]) / weight_all : 0;
        out.push_back({files_[slots_[slot].document], slots_[slot].chunk_index,
                       static_cast<double>(scores[slot]), std::min(covered, 1.0)});
    }
    return out;
}

std::size_t Bm25Index::chunks_with(Term term) const noexcept {
    const Entry* entry = find(term);
    return entry ? live_postings(*entry) : 0;
}

std::size_t Bm25Index::memory() const noexcept {
    std::size_t bytes = table_.capacity() * sizeof(Entry) + slots_.capacity() * sizeof(Slot) +
                        files_.capacity() * sizeof(base::FileId);
    for (const Entry& entry : table_)
        bytes += entry.postings.heap_bytes() + (entry.postings.heap_bytes() > 0 ? 16 : 0);
    return bytes + documents_.size() * 96 + live_ * sizeof(std::uint32_t);
}

}  // namespace millrace::domain::knowledge
