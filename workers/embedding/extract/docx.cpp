#include "workers/embedding/extract/docx.hpp"

#include <libxml/parser.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>

#include "workers/embedding/extract/docx_text.hpp"
#include "workers/embedding/extract/page_text.hpp"
#include "workers/embedding/extract/zip.hpp"

namespace millrace::workers::embedding::extract {

namespace {

constexpr std::size_t k_depth_max = 128;
constexpr std::size_t k_title_bytes_max = 1000;
constexpr std::string_view k_word_ns =
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main";
constexpr std::string_view k_word_strict_ns = "http://purl.oclc.org/ooxml/wordprocessingml/main";
constexpr std::string_view k_math_ns = "http://schemas.openxmlformats.org/officeDocument/2006/math";
constexpr std::string_view k_compatibility_ns =
    "http://schemas.openxmlformats.org/markup-compatibility/2006";
constexpr std::string_view k_dublin_core_ns = "http://purl.org/dc/elements/1.1/";

std::string_view view(const xmlChar* text) {
    return text == nullptr ? std::string_view{}
                           : std::string_view(reinterpret_cast<const char*>(text));
}

/// An element as SAX2 gives it: attributes are (name, prefix, URI, value begin, value end).
struct Tag {
    std::string_view name, space;
    int attribute_count;
    const xmlChar** attributes;

    [[nodiscard]] std::string_view attribute(std::string_view wanted) const {
        for (int i = 0; i < attribute_count; ++i) {
            const xmlChar** const a = attributes + static_cast<std::ptrdiff_t>(i) * 5;
            if (view(a[0]) != wanted) continue;
            const auto* begin = reinterpret_cast<const char*>(a[3]);
            return {begin, static_cast<std::size_t>(reinterpret_cast<const char*>(a[4]) - begin)};
        }
        return {};
    }
};

/// Receives one part's events, and says when it has had enough.
class Sink {
 public:
    virtual ~Sink() = default;
    virtual void begin(const Tag& tag) = 0;
    virtual void end(std::string_view name, std::string_view space) = 0;
    virtual void characters(std::string_view text) = 0;
    [[nodiscard]] virtual std::optional<Refused> objection() const { return std::nullopt; }
};

/// One XML document pushed through libxml2's SAX2 interface.
class XmlStream {
 public:
    explicit XmlStream(Sink& sink) : sink_(sink) {
        std::memset(&handler_, 0, sizeof handler_);
        handler_.initialized = XML_SAX2_MAGIC;
        handler_.startElementNs = on_begin;
        handler_.endElementNs = on_end;
        handler_.characters = on_characters;
        handler_.cdataBlock = on_characters;
        handler_.internalSubset = on_doctype;
        handler_.externalSubset = on_doctype;
        handler_.serror = on_error;
        context_.reset(xmlCreatePushParserCtxt(&handler_, this, nullptr, 0, nullptr));
        if (context_)
            xmlCtxtUseOptions(context_.get(),
                              XML_PARSE_NONET | XML_PARSE_NOCDATA | XML_PARSE_COMPACT);
    }
    XmlStream(const XmlStream&) = delete;
    XmlStream& operator=(const XmlStream&) = delete;

    /// False when there is no point in going on.
    bool push(std::string_view piece) {
        if (!context_) return refused(Refusal::too_complex, "libxml2 has no memory");
        if (xmlParseChunk(context_.get(), piece.data(), static_cast<int>(piece.size()), 0) != 0)
            not_well_formed();
        if (!refused_) refused_ = sink_.objection();
        return !refused_;
    }
    Parsed<void> finish() {
        if (!refused_ && xmlParseChunk(context_.get(), nullptr, 0, 1) != 0) not_well_formed();
        if (refused_) return std::unexpected(*refused_);
        return {};
    }

 private:
    struct Free {
        void operator()(xmlParserCtxt* context) const {
            if (context->myDoc != nullptr) xmlFreeDoc(context->myDoc);
            xmlFreeParserCtxt(context);
        }
    };

    bool refused(Refusal refusal, std::string why) {
        if (!refused_) refused_ = Refused{refusal, std::move(why)};
        if (context_) xmlStopParser(context_.get());
        return false;
    }
    void not_well_formed() {
        refused(Refusal::docx_damaged, "xml: " + (error_.empty() ? "not well-formed" : error_));
    }

    static XmlStream& self(void* user) { return *static_cast<XmlStream*>(user); }
    static void on_begin(void* user, const xmlChar* name, const xmlChar*, const xmlChar* uri, int,
                         const xmlChar**, int count, int, const xmlChar** attributes) {
        auto& stream = self(user);
        if (++stream.depth_ > k_depth_max) {
            stream.refused(Refusal::docx_bomb, "xml: nested deeper than 128");
            return;
        }
        stream.sink_.begin({view(name), view(uri), count, attributes});
    }
    static void on_end(void* user, const xmlChar* name, const xmlChar*, const xmlChar* uri) {
        auto& stream = self(user);
        --stream.depth_;
        if (!stream.refused_) stream.sink_.end(view(name), view(uri));
    }
    static void on_characters(void* user, const xmlChar* text, int size) {
        self(user).sink_.characters(
            {reinterpret_cast<const char*>(text), static_cast<std::size_t>(size)});
    }
    static void on_doctype(void* user, const xmlChar*, const xmlChar*, const xmlChar*) {
        self(user).refused(Refusal::docx_unsafe, "xml: a document type declaration");
    }
    static void on_error(void* user, xmlErrorPtr error) {
        auto& stream = self(user);
        if (stream.error_.empty() && error->message != nullptr) stream.error_ = error->message;
    }

    Sink& sink_;
    xmlSAXHandler handler_;
    std::unique_ptr<xmlParserCtxt, Free> context_;
    std::size_t depth_ = 0;
    std::string error_;
    std::optional<Refused> refused_;
};

Element word_element(const Tag& tag) {
    if (tag.space == k_math_ns && tag.name == "t") return Element::text;
    if (tag.space == k_compatibility_ns)
        return tag.name == "Fallback" ? Element::skipped : Element::other;
    if (tag.space != k_word_ns && tag.space != k_word_strict_ns) return Element::other;
    static constexpr std::array k_names = {
        std::pair{std::string_view("p"), Element::paragraph},
        std::pair{std::string_view("r"), Element::run},
        std::pair{std::string_view("t"), Element::text},
        std::pair{std::string_view("tab"), Element::tab},
        std::pair{std::string_view("ptab"), Element::tab},
        std::pair{std::string_view("cr"), Element::line_break},
        std::pair{std::string_view("tr"), Element::row},
        std::pair{std::string_view("tc"), Element::cell},
        std::pair{std::string_view("del"), Element::skipped},
        std::pair{std::string_view("moveFrom"), Element::skipped},
        std::pair{std::string_view("rt"), Element::skipped},
        std::pair{std::string_view("noBreakHyphen"), Element::hyphen},
        std::pair{std::string_view("lastRenderedPageBreak"), Element::rendered_break},
    };
    if (tag.name == "br")
        return tag.attribute("type") == "page" ? Element::page_break : Element::line_break;
    if (tag.name == "pageBreakBefore") {
        const auto value = tag.attribute("val");
        return value == "0" || value == "false" || value == "off" ? Element::other
                                                                  : Element::page_break;
    }
    const auto found =
        std::ranges::find(k_names, tag.name, &std::pair<std::string_view, Element>::first);
    return found == k_names.end() ? Element::other : found->second;
}

/// word/document.xml, footnotes.xml, endnotes.xml
class BodySink final : public Sink {
 public:
    void begin(const Tag& tag) override {
        open_.push_back(word_element(tag));
        text_.begin(open_.back());
    }
    void end(std::string_view, std::string_view) override {
        if (open_.empty()) return;
        text_.end(open_.back());
        open_.pop_back();
    }
    void characters(std::string_view text) override { text_.characters(text); }
    [[nodiscard]] std::optional<Refused> objection() const override {
        if (text_.size() <= k_text_bytes_max) return std::nullopt;
        return Refused{Refusal::too_much_text, "more than 10 MiB of text"};
    }
    std::string take() { return text_.take(); }

 private:
    DocxText text_;
    std::vector<Element> open_;
};

/// docProps/core.xml: dc:title
class TitleSink final : public Sink {
 public:
    void begin(const Tag& tag) override {
        inside_ = tag.space == k_dublin_core_ns && tag.name == "title";
    }
    void end(std::string_view, std::string_view) override { inside_ = false; }
    void characters(std::string_view text) override {
        if (inside_ && title_.size() < k_title_bytes_max) append_clean(title_, text);
    }
    std::string take() {
        std::ranges::replace(title_, '\n', ' ');
        return std::move(title_);
    }

 private:
    bool inside_ = false;
    std::string title_;
};

Parsed<void> read_part(const Zip& zip, const ZipEntry& part, Sink& sink) {
    XmlStream stream(sink);
    const auto read = zip.inflate(part, [&](std::string_view piece) { return stream.push(piece); });
    if (!read) return read;
    return stream.finish();
}

/// word/document.xml, or what some producers call word/document2.xml.
const ZipEntry* main_part(const Zip& zip) {
    if (const auto* usual = zip.find("word/document.xml")) return usual;
    const auto found = std::ranges::find_if(zip.entries(), [](const ZipEntry& entry) {
        constexpr std::string_view k_begin = "word/document", k_end = ".xml";
        const std::string_view name = entry.name;
        if (!name.starts_with(k_begin) || !name.ends_with(k_end)) return false;
        const auto number =
            name.substr(k_begin.size(), name.size() - k_begin.size() - k_end.size());
        return number.size() <= 2 &&
               std::ranges::all_of(number, [](char c) { return c >= '0' && c <= '9'; });
    });
    return found == zip.entries().end() ? nullptr : &*found;
}

}  // namespace

Parsed<ExtractedText> read_docx(std::string_view file) {
    if (file.empty()) return refuse(Refusal::empty_file, "no bytes");
    if (file.starts_with("\xD0\xCF\x11\xE0"))
        return refuse(Refusal::docx_encrypted, "an OLE compound file");
    const auto zip = Zip::open(file);
    if (!zip) return std::unexpected(zip.error());
    const auto* body = main_part(*zip);
    if (body == nullptr || zip->find("[Content_Types].xml") == nullptr) {
        return refuse(Refusal::docx_damaged, "not a Word document: no word/document.xml");
    }
    ExtractedText out;
    for (const auto* part :
         {body, zip->find("word/footnotes.xml"), zip->find("word/endnotes.xml")}) {
        if (part == nullptr) continue;
        BodySink sink;
        if (auto read = read_part(*zip, *part, sink); !read) return std::unexpected(read.error());
        out.pages += sink.take();
        if (out.pages.size() > k_text_bytes_max)
            return refuse(Refusal::too_much_text, "more than 10 MiB of text");
    }
    if (!has_text(out.pages)) return refuse(Refusal::no_text, "no text in word/document.xml");
    if (const auto* properties = zip->find("docProps/core.xml")) {
        TitleSink sink;
        const auto read = read_part(*zip, *properties, sink);
        if (!read && read.error().refusal != Refusal::docx_damaged)
            return std::unexpected(read.error());
        if (read) out.title = sink.take();
    }
    return out;
}

}  // namespace millrace::workers::embedding::extract
