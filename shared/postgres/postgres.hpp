#pragma once
// The PostgreSQL port: named prepared statements in pipeline mode on few shared connections. All on
// one thread.

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"
#include "shared/base/uuid.hpp"

namespace millrace::postgres {

/// A named statement with static storage, beside its owner. Prepared on first use of each
/// connection. The constructor registers it, so that a test can prepare every statement of the
/// program on a fresh schema.
struct Statement {
    Statement(const char* name, const char* sql);
    const char* name;
    const char* sql;
};
[[nodiscard]] const std::vector<const Statement*>& all_statements();

struct Bytes {  ///< a bytea parameter
    std::string_view data;
};
struct Jsonb {  ///< a jsonb parameter, JSON text
    std::string_view text;
};

struct ExtensionArray {    ///< of a type that no oid here names: the statement casts the parameter
    std::int64_t element;  ///< the type's oid, as the database says it
    std::span<const std::string> values;  ///< in the type's binary format
};

/// Binary-format parameters $1, $2, … in order. Copies what it is given.
class Params {
 public:
    Params() = default;
    template <class... T>
    [[nodiscard]] static Params of(const T&... values) {
        Params out;
        (out.add(values), ...);
        return out;
    }

    Params& add(std::nullopt_t);
    Params& add(bool value);
    Params& add(std::int16_t value);
    Params& add(std::int32_t value);
    Params& add(std::int64_t value);
    Params& add(double value);
    Params& add(std::string_view text);
    Params& add(const char* text) { return add(std::string_view(text)); }
    Params& add(const std::string& text) { return add(std::string_view(text)); }
    Params& add(Bytes bytes);
    Params& add(Jsonb json);
    Params& add(const base::Uuid& id);
    Params& add(base::WallTime when);
    template <class Tag>
    Params& add(const base::Id<Tag>& id) {
        return add(id.uuid);
    }
    template <class T>
    Params& add(const std::optional<T>& value) {
        // An absent value has its type too: the statement is prepared with the types of its first
        // call.
        static_assert(!std::is_pointer_v<T>);
        add(value ? *value : T{});
        values_.back().null = !value;
        return *this;
    }

    // One-dimensional arrays.
    Params& add(const std::vector<bool>& values);
    Params& add(const ExtensionArray& array);
    Params& add(std::span<const std::int16_t> values);
    Params& add(std::span<const std::int32_t> values);
    Params& add(std::span<const std::int64_t> values);
    Params& add(std::span<const float> values);  ///< real[]
    Params& add(std::span<const double> values);
    Params& add(std::span<const std::string> values);  ///< text[]
    Params& add(std::span<const std::optional<std::string>> values);
    Params& add(std::span<const Bytes> values);                 ///< bytea[]
    Params& add(std::span<const std::optional<Bytes>> values);  ///< bytea[] with NULLs
    Params& add(std::span<const base::Uuid> values);
    Params& add(std::span<const std::optional<base::Uuid>> values);
    Params& add(std::span<const base::WallTime> values);
    template <class T>
    Params& add(const std::vector<T>& values) {
        return add(std::span<const T>(values));
    }

    struct Value {
        std::uint32_t type;  ///< OID
        bool null;
        std::size_t offset, size;  ///< into data()
    };
    [[nodiscard]] const std::vector<Value>& values() const noexcept { return values_; }
    [[nodiscard]] const std::string& data() const noexcept { return data_; }

 private:
    std::vector<Value> values_;
    std::string data_;
};

class Row;

/// A result in binary format; cheap to move, not to copy.
class Rows {
 public:
    struct Impl;
    explicit Rows(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
    Rows() = default;

    [[nodiscard]] std::size_t size() const noexcept;
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    /// Rows touched by INSERT, UPDATE, DELETE.
    [[nodiscard]] std::size_t affected() const noexcept;
    [[nodiscard]] Row operator[](std::size_t row) const;

 private:
    std::shared_ptr<const Impl> impl_;
};

/// One row; views stay valid as long as its Rows.
class Row {
 public:
    /// T: bool, int16/32/64, double, std::string, std::string_view (text, bytea, jsonb, any enum),
    /// Uuid, Id<…>, WallTime, optional<T>, vector<Uuid>, vector<std::string>, vector<int32_t>,
    /// vector<float>. A wrong type or an unexpected NULL is a bug: check().
    template <class T>
    [[nodiscard]] T get(int column) const {
        return Getter<T>::get(*this, column);
    }
    [[nodiscard]] bool is_null(int column) const;

    /// Wire bytes and type of a column, for the getters.
    [[nodiscard]] std::string_view wire(int column) const;
    [[nodiscard]] std::uint32_t type(int column) const;

 private:
    friend class Rows;
    template <class T>
    struct Getter;
    Row(const Rows::Impl& rows, std::size_t row) : rows_(&rows), row_(row) {}
    const Rows::Impl* rows_;
    std::size_t row_;
};

template <>
struct Row::Getter<bool> {
    static bool get(const Row& row, int column);
};
template <>
struct Row::Getter<std::int16_t> {
    static std::int16_t get(const Row& row, int column);
};
template <>
struct Row::Getter<std::int32_t> {
    static std::int32_t get(const Row& row, int column);
};
template <>
struct Row::Getter<std::int64_t> {
    static std::int64_t get(const Row& row, int column);
};
template <>
struct Row::Getter<double> {
    static double get(const Row& row, int column);
};
template <>
struct Row::Getter<std::string_view> {
    static std::string_view get(const Row& row, int column);
};
template <>
struct Row::Getter<std::string> {
    static std::string get(const Row& row, int column);
};
template <>
struct Row::Getter<base::Uuid> {
    static base::Uuid get(const Row& row, int column);
};
template <>
struct Row::Getter<base::WallTime> {
    static base::WallTime get(const Row& row, int column);
};
template <>
struct Row::Getter<std::vector<base::Uuid>> {
    static std::vector<base::Uuid> get(const Row& row, int column);
};
template <>
struct Row::Getter<std::vector<std::string>> {
    static std::vector<std::string> get(const Row& row, int column);
};
template <>
struct Row::Getter<std::vector<std::int32_t>> {
    static std::vector<std::int32_t> get(const Row& row, int column);
};
template <>
struct Row::Getter<std::vector<float>> {
    static std::vector<float> get(const Row& row, int column);
};
template <class Tag>
struct Row::Getter<base::Id<Tag>> {
    static base::Id<Tag> get(const Row& row, int column) { return {row.get<base::Uuid>(column)}; }
};
template <class T>
struct Row::Getter<std::optional<T>> {
    static std::optional<T> get(const Row& row, int column) {
        return row.is_null(column) ? std::nullopt : std::optional<T>(row.get<T>(column));
    }
};

struct Call {
    const Statement* statement;
    Params params;
};
template <class... T>
[[nodiscard]] Call call(const Statement& statement, const T&... values) {
    return {&statement, Params::of(values...)};
}

/// The first statement of every transaction of a tenant, as millrace_app
/// (schemas/sql/0001_roles.sql).
[[nodiscard]] Call set_tenant(base::TenantId tenant);

/// Errors: `unavailable` = not connected, or the connection broke; `timeout` = deadline or
/// statement_timeout; `conflict` = unique/exclusion violation, serialization failure, deadlock;
/// `invalid` = data exception or other constraint; `internal` = the rest. Error::source is
/// "<SQLSTATE>" or "<SQLSTATE>:<constraint>".
[[nodiscard]] bool is_sqlstate(const Error& error, std::string_view sqlstate,
                               std::string_view constraint = {});
/// The statement was sent and the connection broke, or the deadline passed, before the answer: it
/// may have committed.
[[nodiscard]] bool is_ambiguous(const Error& error);

/// An explicit transaction on a connection of its own; rolls back when destroyed uncommitted.
class Transaction {
 public:
    virtual ~Transaction() = default;
    virtual Task<Result<Rows>> run(Call call, Deadline deadline) = 0;
    /// Once a statement has failed, or its answer did not come in time, this returns that error and
    /// nothing is committed.
    virtual Task<Result<void>> commit(Deadline deadline) = 0;
};

/// A session-level advisory lock on a connection of its own; released when destroyed, or by the
/// server when this process dies.
class Lock {
 public:
    virtual ~Lock() = default;
    /// False from the moment its connection is known to be broken.
    [[nodiscard]] virtual bool held() const = 0;
    /// Waits until the lock is lost.
    virtual Task<void> lost() = 0;
};

class Database {
 public:
    virtual ~Database() = default;
    /// One statement, one transaction. Many may be in flight on one connection; they run in the
    /// order of their calls.
    virtual Task<Result<Rows>> run(Call call, Deadline deadline) = 0;
    /// All statements in one transaction and one round trip; the first error rolls all back and is
    /// returned.
    virtual Task<Result<std::vector<Rows>>> transaction(std::vector<Call> calls,
                                                        Deadline deadline) = 0;
    virtual Task<Result<std::unique_ptr<Transaction>>> begin(Deadline deadline) = 0;
    /// nullptr when someone else holds it.
    virtual Task<Result<std::unique_ptr<Lock>>> try_lock(std::int64_t key, Deadline deadline) = 0;
    /// Any text, several statements allowed, no parameters: migrations only.
    virtual Task<Result<void>> script(std::string sql, Deadline deadline) = 0;
    [[nodiscard]] virtual bool connected() const = 0;
    virtual Task<Result<void>> wait_connected(Deadline deadline) = 0;
    /// Fails calls in flight, closes the connections. Call before destruction.
    virtual Task<void> close() = 0;
};

/// What a commit waits for.
enum class Commit : std::uint8_t {
    durable,
    asynchronous,  ///< not the disk: lost if the server crashes before the next durable one
};

/// One statement in a transaction of its tenant, as millrace_app. Asynchronous suffices for what a
/// durable commit will name, which makes all before it durable too.
Task<Result<Rows>> in_tenant(Database& app, base::TenantId tenant, Call call, Deadline deadline,
                             Commit commit = Commit::durable);

struct Options {
    std::string dsn;   ///< libpq connection string or URI
    std::string role;  ///< SET ROLE after connecting, when not empty
    std::string application_name;
    int connections = 1;            ///< shared, pipelined
    int exclusive_connections = 2;  ///< at most, opened when begin() needs one
    std::chrono::milliseconds statement_timeout{3000};
    std::chrono::milliseconds lock_timeout{1000};
    std::vector<std::pair<std::string, std::string>> settings;  ///< of every connection
    std::size_t waiting_max =
        10'000;  ///< calls that wait for a connection; more are refused as `unavailable`
    std::function<void(std::string)> on_event;  ///< connections lost and made; for the log
};
/// Settings that pin the plans of the hot statements, for the pipeline role [engineering finding
/// 16].
[[nodiscard]] std::vector<std::pair<std::string, std::string>> pinned_plans();

std::unique_ptr<Database> make_database(Executor executor, Options options);

}  // namespace millrace::postgres
