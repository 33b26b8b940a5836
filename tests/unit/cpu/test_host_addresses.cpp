// SPDX-License-Identifier: Apache-2.0
//
// Addresses that are no memory of this process are named, not touched: an address as GPUs hand them out, and tensors
// whose last byte lies on a page without access.
#define BOOST_TEST_MODULE test_host_addresses
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <functional>

#include "cpu/cpu_attention.hpp"
#include "host_problem.hpp"

using namespace flashcore;
using namespace flashcore::tests;

namespace {

// Two pages, the second without access.
class GuardedPage {
 public:
  GuardedPage() : page_bytes_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    memory_ =
        static_cast<char *>(mmap(nullptr, 2 * page_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    BOOST_REQUIRE(memory_ != MAP_FAILED);
    BOOST_REQUIRE(mprotect(memory_ + page_bytes_, page_bytes_, PROT_NONE) == 0);
  }
  ~GuardedPage() { munmap(memory_, 2 * page_bytes_); }
  uint64_t end() const { return reinterpret_cast<uint64_t>(memory_) + page_bytes_; }

 private:
  size_t page_bytes_;
  char *memory_ = nullptr;
};

boost::test_tools::assertion_result kernel_can_answer(boost::unit_test::test_unit_id) {
  char from = 1, to = 0;
  const iovec local = {&to, 1}, remote = {&from, 1};
  boost::test_tools::assertion_result result(process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1);
  result.message() << "process_vm_readv is not permitted here";
  return result;
}

const HostShape small = {.seqlen_q = 4, .seqlen_kv = 6, .heads_q = 2, .heads_kv = 1, .head_dim = 8, .head_dim_v = 8};

struct NamedTensor {
  const char *field;
  fwd::Operand operand;
  int64_t bytes;  // from the first to the end of the last element
};
const NamedTensor named_tensors[] = {
    {"query.data", fwd::query, 4 * 2 * 8 * 2}, {"key.data", fwd::key, 6 * 8 * 2},
    {"value.data", fwd::value, 6 * 8 * 2},     {"output.data", fwd::output, 4 * 2 * 8 * 2},
    {"lse.data", fwd::lse, 4 * 2 * 4},
};

}  // namespace

BOOST_AUTO_TEST_CASE(good_addresses_pass) {
  HostProblem host(small);
  BOOST_TEST(check_host_addresses(host.problem).ok());
  host.problem.tensors[fwd::lse].data = 0;  // absent
  BOOST_TEST(check_host_addresses(host.problem).ok());
}

BOOST_AUTO_TEST_CASE(empty_tensors_are_not_looked_at) {
  HostShape shape = small;
  shape.seqlen_kv = 0;
  HostProblem host(shape);
  host.problem.tensors[fwd::key].data = host.problem.tensors[fwd::value].data = 64;
  BOOST_TEST(check_host_addresses(host.problem).ok());
}

BOOST_AUTO_TEST_CASE(foreign_addresses_are_named, *boost::unit_test::precondition(kernel_can_answer)) {
  for (const NamedTensor &named : named_tensors) {
    HostProblem host(small);
    host.problem.tensors[named.operand].data = 0x7fdead000000;  // where CUDA places its unified addresses
    const Status status = check_host_addresses(host.problem);
    BOOST_REQUIRE(!status.ok());
    BOOST_TEST(status.error().status == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(status.error().field == named.field);
    BOOST_TEST(status.error().message.find("0x7fdead000000") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(last_byte_counts, *boost::unit_test::precondition(kernel_can_answer)) {
  const GuardedPage page;
  for (const NamedTensor &named : named_tensors) {
    HostProblem host(small);
    host.problem.tensors[named.operand].data = page.end() - static_cast<uint64_t>(named.bytes);
    BOOST_TEST(check_host_addresses(host.problem).ok(), named.field);
    host.problem.tensors[named.operand].data += 4;
    const Status status = check_host_addresses(host.problem);
    BOOST_REQUIRE_MESSAGE(!status.ok(), named.field);
    BOOST_TEST(status.error().field == named.field);
  }
}

// Every page of an output counts, not only its ends: a hole or a page that may only be read is named, and nothing is changed.
BOOST_AUTO_TEST_CASE(every_page_of_an_output_counts, *boost::unit_test::precondition(kernel_can_answer)) {
  const HostShape shape = {
      .batch = 2, .seqlen_q = 300, .seqlen_kv = 6, .heads_q = 3, .heads_kv = 1, .head_dim = 8, .head_dim_v = 72};
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t pages = 400, bytes = pages * page_bytes;
  for (const bool is_lse : {false, true}) {
    HostProblem host(shape);
    auto *memory =
        static_cast<unsigned char *>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    BOOST_REQUIRE(memory != MAP_FAILED);
    for (size_t i = 0; i < bytes; ++i) memory[i] = static_cast<unsigned char>(i * 7);
    ProblemTensor &tensor = is_lse ? host.problem.tensors[fwd::lse] : host.problem.tensors[fwd::output];
    // Eight rows that do not touch each other on a page, 38 pages with rows for each head, and 12 without before the next.
    const int64_t element_bytes = is_lse ? 4 : 2, row = static_cast<int64_t>(page_bytes) / 8 / element_bytes;
    tensor = {reinterpret_cast<uint64_t>(memory), 150 * 8 * row, row, 50 * 8 * row};
    constexpr int64_t used = 150 + 2 * 50 + 38;
    BOOST_TEST(check_host_addresses(host.problem).ok());
    int refused = 0;
    for (int64_t page = 0; page < used; page += 7) {
      const size_t begin = static_cast<size_t>(page) * page_bytes;
      const int protection = page % 2 == 0 ? PROT_READ : PROT_NONE;
      BOOST_REQUIRE(mprotect(memory + begin, page_bytes, protection) == 0);
      const Status status = check_host_addresses(host.problem);
      BOOST_REQUIRE(mprotect(memory + begin, page_bytes, PROT_READ | PROT_WRITE) == 0);
      // Between the heads there are pages without elements: those may be anything.
      const bool holds_elements = page % 50 < 38;
      BOOST_TEST(status.ok() != holds_elements, "page " << page);
      if (status.ok()) continue;
      ++refused;
      BOOST_TEST(status.error().field == (is_lse ? "lse.data" : "output.data"));
      const char *part = protection == PROT_READ ? "may not write to" : "is no memory of this process";
      if (page != 0 && page + 1 < used)
        BOOST_TEST(status.error().message.find(part) != std::string::npos, status.error().message);
    }
    BOOST_TEST(refused > 10);
    int changed = 0;
    for (size_t i = 0; i < bytes; ++i) changed += memory[i] != static_cast<unsigned char>(i * 7);
    BOOST_TEST(changed == 0);
    munmap(memory, bytes);
  }
}

// Of a ragged batch the rows in use, which are not all between the first and the last: the others are not even written back.
BOOST_AUTO_TEST_CASE(rows_in_use_must_be_writable, *boost::unit_test::precondition(kernel_can_answer)) {
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  constexpr int64_t pages = 8;  // a row a page
  auto *memory = static_cast<unsigned char *>(
      mmap(nullptr, pages * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  BOOST_REQUIRE(memory != MAP_FAILED);
  const int32_t begins[] = {1, 5, 8}, used[] = {2, 1};  // rows 1, 2 and 5
  for (const bool one_after_the_other : {true, false})
    for (const fwd::Operand operand : {fwd::output, fwd::lse}) {
      HostProblem host(HostShape{.batch = 2, .seqlen_q = 4, .seqlen_kv = 6, .head_dim = 8, .head_dim_v = 8});
      AttentionProblem &problem = host.problem;
      problem.key.rows = kernels::rows_ragged, problem.key.ragged_by = kernels::by_seqused_q,
      problem.key.kv_batches = 2;
      problem.tensors[fwd::seqused_q].data = reinterpret_cast<uint64_t>(used);
      if (one_after_the_other) {
        problem.key.total_q = pages;
        problem.tensors[fwd::cu_seqlens_q].data = reinterpret_cast<uint64_t>(begins);
      }
      const int64_t row = static_cast<int64_t>(page_bytes) / (operand == fwd::lse ? 4 : 2);
      problem.tensors[operand] = {reinterpret_cast<uint64_t>(memory), 4 * row, row, 8};
      for (int64_t page = 0; page < pages; ++page) {
        unsigned char *const begin = memory + static_cast<size_t>(page) * page_bytes;
        BOOST_REQUIRE(mprotect(begin, page_bytes, PROT_READ) == 0);
        const Status status = check_host_addresses(problem);
        BOOST_REQUIRE(mprotect(begin, page_bytes, PROT_READ | PROT_WRITE) == 0);
        const bool in_use =
            one_after_the_other ? page == 1 || page == 2 || page == 5 : page == 0 || page == 1 || page == 4;
        BOOST_TEST(status.ok() != in_use, "page " << page);
        if (!status.ok()) BOOST_TEST(status.error().field == (operand == fwd::lse ? "lse.data" : "output.data"));
      }
    }
  munmap(memory, pages * page_bytes);
}

// Of a cache the rows that are written must be writable, and only these: another call may have the others.
BOOST_AUTO_TEST_CASE(rows_that_are_appended_must_be_writable, *boost::unit_test::precondition(kernel_can_answer)) {
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  constexpr int64_t pages = 6;
  auto *memory = static_cast<unsigned char *>(
      mmap(nullptr, pages * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  BOOST_REQUIRE(memory != MAP_FAILED);
  for (const fwd::Operand operand : {fwd::key, fwd::value})
    for (const int64_t used : {0, 2, 4, 6}) {
      HostProblem host(small);  // a row a page
      const auto length = static_cast<int32_t>(used);
      AttentionProblem &problem = host.problem;
      problem.key.seqlen_new = 2, problem.key.rows = kernels::rows_ragged, problem.key.kv_batches = 1;
      problem.key.ragged_by = kernels::by_seqused_kv;
      problem.tensors[fwd::seqused_kv].data = reinterpret_cast<uint64_t>(&length);
      problem.tensors[operand] = {reinterpret_cast<uint64_t>(memory), 0, static_cast<int64_t>(page_bytes) / 2, 8};
      for (int64_t page = 0; page < pages; ++page) {
        unsigned char *const begin = memory + static_cast<size_t>(page) * page_bytes;
        BOOST_REQUIRE(mprotect(begin, page_bytes, PROT_READ) == 0);
        const Status status = check_appended_rows(problem);
        BOOST_REQUIRE(mprotect(begin, page_bytes, PROT_READ | PROT_WRITE) == 0);
        BOOST_TEST(status.ok() == (page < used || page >= used + 2), "page " << page << ", " << used << " rows in use");
        if (!status.ok()) BOOST_TEST(status.error().field == (operand == fwd::key ? "key.data" : "value.data"));
      }
    }
  munmap(memory, pages * page_bytes);
}
