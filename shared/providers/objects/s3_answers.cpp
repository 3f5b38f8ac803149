#include "shared/providers/objects/s3_answers.hpp"

#include <libxml/parser.h>
#include <libxml/tree.h>

#include <charconv>
#include <memory>

namespace millrace::providers::objects {

namespace {

std::unexpected<Error> not_understood(std::string_view expected) {
    return fail(ErrorCode::unavailable, "the document store is not available now",
                {.log = "object store: an answer of the service is not the " +
                        std::string(expected) + " that was asked for"});
}

std::string_view view(const xmlChar* text) {
    return text == nullptr ? std::string_view{} : reinterpret_cast<const char*>(text);
}

/// A document, read without network and without expanding entities.
class Document {
 public:
    explicit Document(std::string_view xml)
        : document_(xmlReadMemory(xml.data(), static_cast<int>(xml.size()), nullptr, nullptr,
                                  XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING)) {}

    /// The root if it has that name, else null.
    [[nodiscard]] const xmlNode* root(std::string_view name) const {
        const auto* node = document_ ? xmlDocGetRootElement(document_.get()) : nullptr;
        return node != nullptr && view(node->name) == name ? node : nullptr;
    }

 private:
    struct Free {
        void operator()(xmlDoc* document) const { xmlFreeDoc(document); }
    };
    std::unique_ptr<xmlDoc, Free> document_;
};

template <class Act>
void for_each_child(const xmlNode* parent, std::string_view name, Act act) {
    for (const auto* node = parent->children; node != nullptr; node = node->next) {
        if (node->type == XML_ELEMENT_NODE && view(node->name) == name) act(node);
    }
}

/// The text of the first child of that name.
std::string text(const xmlNode* parent, std::string_view name) {
    std::string out;
    bool first = true;
    for_each_child(parent, name, [&](const xmlNode* node) {
        if (!std::exchange(first, false)) return;
        for (const auto* part = node->children; part != nullptr; part = part->next) {
            if (part->type == XML_TEXT_NODE || part->type == XML_CDATA_SECTION_NODE)
                out += view(part->content);
        }
    });
    return out;
}

std::string percent_decoded(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        unsigned char byte = 0;
        const auto* digits = text.data() + at + 1;
        if (text[at] == '%' && at + 2 < text.size() &&
            std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
            out += static_cast<char>(byte);
            at += 2;
        } else {
            out += text[at] == '+' ? ' ' : text[at];
        }
    }
    return out;
}

}  // namespace

Result<ObjectPage> parse_object_page(std::string_view xml) {
    const Document document(xml);
    const auto* root = document.root("ListBucketResult");
    if (root == nullptr) return not_understood("list of objects");
    ObjectPage out{.objects = {}, .more = text(root, "IsTruncated") == "true"};
    bool whole = true;
    for_each_child(root, "Contents", [&](const xmlNode* node) {
        object_store::Listed object{.key = percent_decoded(text(node, "Key"))};
        const auto size = text(node, "Size");
        const auto modified = base::parse_rfc3339(text(node, "LastModified"));
        const auto end = std::from_chars(size.data(), size.data() + size.size(), object.size);
        whole &= modified && !size.empty() && end.ptr == size.data() + size.size();
        object.modified = modified.value_or(base::WallTime{});
        out.objects.push_back(std::move(object));
    });
    if (!whole) return not_understood("list of objects");
    return out;
}

Result<UploadPage> parse_upload_page(std::string_view xml) {
    const Document document(xml);
    const auto* root = document.root("ListMultipartUploadsResult");
    if (root == nullptr) return not_understood("list of uploads");
    UploadPage out{.uploads = {}, .more = text(root, "IsTruncated") == "true"};
    bool whole = true;
    for_each_child(root, "Upload", [&](const xmlNode* node) {
        const auto begun = base::parse_rfc3339(text(node, "Initiated"));
        whole &= begun.has_value();
        out.uploads.push_back({.key = percent_decoded(text(node, "Key")),
                               .id = text(node, "UploadId"),
                               .begun = begun.value_or(base::WallTime{})});
    });
    if (!whole) return not_understood("list of uploads");
    return out;
}

Result<std::string> parse_upload_id(std::string_view xml) {
    const Document document(xml);
    const auto* root = document.root("InitiateMultipartUploadResult");
    auto id = root == nullptr ? std::string() : text(root, "UploadId");
    if (id.empty()) return not_understood("id of an upload");
    return id;
}

Complaint parse_complaint(std::string_view xml) {
    const Document document(xml);
    const auto* root = document.root("Error");
    if (root == nullptr) return {};
    auto code = text(root, "Code");
    return {.code = code.empty() ? "unnamed" : std::move(code), .message = text(root, "Message")};
}

}  // namespace millrace::providers::objects
