#include "shared/domain/knowledge/answerer.hpp"

#include <algorithm>
#include <cmath>

#include "shared/base/utf8.hpp"
#include "shared/domain/knowledge/normalize.hpp"
#include "shared/domain/knowledge/sentences.hpp"

namespace millrace::domain::knowledge {
namespace {

constexpr double k_neighbour = 0.75;  // what a word in the sentence before or after counts
constexpr double k_context =
    0.85;  // … in the title or in the heading or question that the sentence stands under
constexpr double k_kind_bonus = 0.12;
constexpr double k_rank_discount = 0.04;
constexpr double k_worth_adding = 0.55;  // of the best sentence's score
constexpr std::size_t k_sentences_max = 200;

struct Scored {
    std::size_t passage = 0;
    Sentence span;
    double coverage = 0;  // of the sentence in its context
    double missing = 0, kind_missing = 0;
    double score = 0;
    bool announces = false;  // a heading or a question: what follows answers
};

bool is_question(std::string_view sentence) {
    return sentence.ends_with("?") || sentence.ends_with("？") || sentence.ends_with("か。");
}

std::vector<double> maximum(std::vector<double> a, const std::vector<double>& b, double factor) {
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) a[i] = std::max(a[i], b[i] * factor);
    return a;
}

double heaviest_missing(const Question& question, const std::vector<double>& matches) {
    double worst = 0;
    for (std::size_t i = 0; i < matches.size(); ++i) {
        if (question.words[i].strong)
            worst = std::max(worst, (1 - matches[i]) * question.words[i].weight);
    }
    return question.weight > 0 ? worst / question.weight : 1;
}

/// Sentences of a passage with their scores.
std::vector<Scored> score_sentences(const Question& question, const Passage& passage,
                                    std::size_t rank) {
    auto spans = split_sentences(passage.text);
    if (spans.size() > k_sentences_max) spans.resize(k_sentences_max);
    std::vector<MatchText> texts;
    std::vector<std::vector<double>> own;
    for (const auto& span : spans) {
        texts.emplace_back(passage.text.substr(span.begin, span.end - span.begin));
        own.push_back(match_words(question, texts.back()));
    }
    const auto title = match_words(question, MatchText(passage.title));
    std::vector<Scored> out;
    std::vector<double> heading;
    std::size_t heading_age = 0;
    for (std::size_t i = 0; i < spans.size(); ++i) {
        auto context = maximum(own[i], title, k_context);
        context = maximum(std::move(context), heading, k_context);
        if (i > 0) context = maximum(std::move(context), own[i - 1], k_neighbour);
        if (i + 1 < spans.size()) context = maximum(std::move(context), own[i + 1], k_neighbour);
        Scored one{rank, spans[i], coverage(question, context),
                   heaviest_missing(question, context)};
        const bool kind = holds(question.asked, texts[i].folded());
        const bool kind_near =
            kind || (i + 1 < spans.size() && holds(question.asked, texts[i + 1].folded()));
        one.kind_missing = kind_near ? 0 : 1;
        one.score = one.coverage * 0.5 + coverage(question, own[i]) * 0.5 -
                    k_rank_discount * static_cast<double>(rank);
        if (question.asked != Asked::anything) one.score += kind ? k_kind_bonus : -k_kind_bonus;
        const auto sentence = passage.text.substr(spans[i].begin, spans[i].end - spans[i].begin);
        one.announces = spans[i].heading || is_question(sentence);
        if (one.announces) {
            heading = own[i];
            heading_age = 0;
        } else if (++heading_age > 8) {
            heading.clear();
        }
        out.push_back(one);
    }
    return out;
}

double logistic(double x) {
    return 1 / (1 + std::exp(-x));
}

Relevance judge_scored(const Question& question, std::span<const Passage> passages,
                       const std::vector<Scored>& sentences) {
    Relevance out;
    if (question.words.empty()) return out;
    for (const auto& passage : passages) {
        const auto title = match_words(question, MatchText(passage.title));
        const auto body = match_words(question, MatchText(passage.text));
        out.passage_coverage =
            std::max(out.passage_coverage, coverage(question, maximum(body, title, k_context)));
    }
    out.missing = 1;
    out.kind_missing = 1;
    double best = -1;
    for (const auto& one : sentences) {
        const double judged = one.coverage - 0.2 * one.kind_missing;
        if (judged <= best) continue;
        best = judged;
        out.sentence_coverage = one.coverage;
        out.missing = one.missing;
        out.kind_missing = one.kind_missing;
    }
    out.confidence = logistic(-9.98 + 5.2 * out.passage_coverage + 9.8 * out.sentence_coverage +
                              1.1 * out.missing - 4.4 * out.kind_missing);
    return out;
}

std::vector<Scored> score_passages(const Question& question, std::span<const Passage> passages) {
    std::vector<Scored> out;
    for (std::size_t rank = 0; rank < passages.size(); ++rank) {
        auto scored = score_sentences(question, passages[rank], rank);
        out.insert(out.end(), scored.begin(), scored.end());
    }
    return out;
}

/// What may still be said.
struct Budget {
    std::size_t characters, quarter_tokens;

    bool take(std::string_view text) {
        std::size_t length = 0, cost = 0;
        for (std::size_t at = 0; at < text.size();) {
            const auto [c, bytes] = code_point_at(text, at);
            ++length;
            cost += c < 0x300 ? 1 : 4;
            at += bytes;
        }
        if (length > characters || cost > quarter_tokens) return false;
        characters -= length;
        quarter_tokens -= cost;
        return true;
    }
};

/// The part of a sentence that is too long: from the clause where the question's words begin, as
/// much as fits.
std::string_view cut_to_fit(std::string_view sentence, const Question& question, Budget& budget) {
    std::vector<std::size_t> starts{0};
    for (std::size_t at = 0; at < sentence.size();) {
        const auto [c, bytes] = code_point_at(sentence, at);
        at += bytes;
        if ((c == U'、' || c == U'，' ||
             ((c == ',' || c == ';') && at < sentence.size() && sentence[at] == ' ')))
            starts.push_back(at);
    }
    std::string_view best;
    double best_covered = -1;
    for (const auto start : starts) {
        auto rest = sentence.substr(start);
        while (!rest.empty() && is_space(static_cast<unsigned char>(rest.front())))
            rest.remove_prefix(1);
        Budget trial = budget;
        std::string_view part = rest;
        while (!part.empty() && !(trial = budget).take(part))
            part = base::utf8_prefix(part, part.size() * 9 / 10);
        const double covered = coverage(question, match_words(question, MatchText(part)));
        if (covered > best_covered + 1e-9) {
            best_covered = covered;
            best = part;
        }
        if (part.size() == rest.size()) break;
    }
    if (!best.empty()) budget.take(best);
    return best;
}

/// Best sentences first, as many as are worth it and fit; in reading order.
std::vector<Scored> choose(std::vector<Scored> sentences, std::span<const Passage> passages,
                           const Question& question, Budget& budget) {
    std::ranges::sort(sentences, [](const Scored& a, const Scored& b) {
        if (a.announces != b.announces) return b.announces;
        if (a.score != b.score) return a.score > b.score;
        return a.passage != b.passage ? a.passage < b.passage : a.span.begin < b.span.begin;
    });
    std::vector<Scored> out;
    for (auto one : sentences) {
        if (!out.empty() && (one.score < sentences.front().score * k_worth_adding ||
                             one.passage != out.front().passage))
            continue;
        Budget trial = budget;
        auto text =
            passages[one.passage].text.substr(one.span.begin, one.span.end - one.span.begin);
        if (!trial.take(text) || !trial.take("[1] ")) {
            if (!out.empty()) continue;
            trial = budget;
            if (!trial.take("[1] ")) break;
            const auto part = cut_to_fit(text, question, trial);
            if (part.empty()) break;
            one.span.begin =
                static_cast<std::uint32_t>(part.data() - passages[one.passage].text.data());
            one.span.end = one.span.begin + static_cast<std::uint32_t>(part.size());
        }
        budget = trial;
        out.push_back(one);
    }
    std::ranges::sort(out, [](const Scored& a, const Scored& b) {
        return a.passage != b.passage ? a.passage < b.passage : a.span.begin < b.span.begin;
    });
    return out;
}

/// Sentences that follow each other become one quotation.
std::vector<AnswerPiece> pieces_of(const std::vector<Scored>& chosen,
                                   std::span<const Passage> passages) {
    std::vector<AnswerPiece> out;
    for (std::size_t i = 0; i < chosen.size();) {
        const auto text = passages[chosen[i].passage].text;
        std::size_t j = i;
        const auto follows = [&](const Scored& a, const Scored& b) {
            if (a.passage != b.passage) return false;
            const auto gap = text.substr(a.span.end, b.span.begin - a.span.end);
            return gap.size() <= 2 && std::ranges::all_of(gap, [](char c) {
                       return is_space(static_cast<unsigned char>(c));
                   });
        };
        while (j + 1 < chosen.size() && follows(chosen[j], chosen[j + 1])) ++j;
        AnswerPiece piece;
        piece.passage = chosen[i].passage;
        piece.quote = text.substr(chosen[i].span.begin, chosen[j].span.end - chosen[i].span.begin);
        piece.text =
            (out.empty() ? "" : " ") + piece.quote + "[" + std::to_string(piece.passage + 1) + "]";
        out.push_back(std::move(piece));
        i = j + 1;
    }
    return out;
}

}  // namespace

std::string LocalAnswer::text() const {
    std::string out;
    for (const auto& piece : pieces) out += piece.text;
    return out;
}

std::string_view refusal(bool japanese) noexcept {
    return japanese ? "この質問に答えられる記述は、資料の中に見つかりませんでした。"
                    : "The documents contain nothing that answers this question.";
}

Relevance judge(const Question& question, std::span<const Passage> passages,
                std::size_t passages_max) {
    passages = passages.first(std::min(passages.size(), passages_max));
    return judge_scored(question, passages, score_passages(question, passages));
}

LocalAnswer answer_locally(std::string_view text, std::span<const Passage> passages,
                           const CorpusStats& corpus, const AnswerOptions& options) {
    LocalAnswer out;
    const auto question = read_question(text, corpus);
    passages = passages.first(std::min(passages.size(), options.passages_max));
    auto sentences = score_passages(question, passages);
    out.relevance = judge_scored(question, passages, sentences);
    if (out.relevance.answerable(options.threshold)) {
        Budget budget{options.characters_max, options.tokens_max * 4};
        out.pieces = pieces_of(choose(std::move(sentences), passages, question, budget), passages);
    }
    out.refused = out.pieces.empty();
    if (out.refused) out.pieces.push_back({std::string(refusal(question.japanese)), 0, {}});
    return out;
}

}  // namespace millrace::domain::knowledge
