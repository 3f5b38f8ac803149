#pragma once
// What an S3-compatible service says in XML, taken apart.

#include <string>
#include <string_view>
#include <vector>

#include "shared/object_store/object_store.hpp"

namespace millrace::providers::objects {

/// One page of ListObjectsV2, keys decoded.
struct ObjectPage {
    std::vector<object_store::Listed> objects;
    bool more = false;
};
[[nodiscard]] Result<ObjectPage> parse_object_page(std::string_view xml);

/// One page of ListMultipartUploads.
struct UploadPage {
    struct Unfinished {
        std::string key, id;
        base::WallTime begun;
    };
    std::vector<Unfinished> uploads;
    bool more = false;
};
[[nodiscard]] Result<UploadPage> parse_upload_page(std::string_view xml);

/// The id in the answer to CreateMultipartUpload.
[[nodiscard]] Result<std::string> parse_upload_id(std::string_view xml);

/// An <Error>, also in an answer with status 200; an empty code: it is none.
struct Complaint {
    std::string code, message;
};
[[nodiscard]] Complaint parse_complaint(std::string_view xml);

}  // namespace millrace::providers::objects
