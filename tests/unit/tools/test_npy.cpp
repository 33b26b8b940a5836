// SPDX-License-Identifier: Apache-2.0
//
// .npy files as NumPy writes them, and as accidents and attackers write them: every damaged file is refused with its
// name and the cause, before memory is asked for; writing leaves the old file or the new one, and nothing else.
#define BOOST_TEST_MODULE test_npy
#include "common/npy.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace flashcore::tools;
namespace filesystem = std::filesystem;

namespace {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/flashcore_test_npy_XXXXXX";
    BOOST_REQUIRE(mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~Folder() { filesystem::remove_all(path_); }
  std::string file(const std::string &name) const { return path_ + "/" + name; }
  std::string write(const std::string &name, const std::string &bytes) const {
    std::ofstream(file(name), std::ios::binary) << bytes;
    return file(name);
  }
  size_t entries() const {
    return static_cast<size_t>(std::distance(filesystem::directory_iterator(path_), filesystem::directory_iterator()));
  }

 private:
  std::string path_;
};

std::string with_length(const std::string &version, const std::string &header, const std::string &data) {
  std::string file = "\x93NUMPY" + version;
  const size_t length_bytes = version[0] == '\x01' ? 2 : 4;
  for (size_t n = 0; n < length_bytes; n++) file += static_cast<char>(header.size() >> (8 * n) & 0xff);
  return file + header + data;
}
const std::string version_1("\x01\x00", 2), version_2("\x02\x00", 2), version_3("\x03\x00", 2);

std::string header_text(const std::string &descr, const std::string &order, const std::string &shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }          \n";
}

// The failure's message; empty where the file was read.
std::string problem_with(const std::string &path) {
  const auto array = read_npy(path);
  if (array.ok()) return "";
  BOOST_TEST(array.failure().exit_code == exit_bad_input);
  BOOST_TEST(array.failure().message.find(path) != std::string::npos);
  return array.failure().message;
}

struct Damaged {
  const char *why;  // must be in the message
  std::string bytes;
};

}  // namespace

BOOST_AUTO_TEST_CASE(both_versions_and_every_type) {
  const Folder folder;
  const struct {
    const char *descr;
    NpyType type;
    int64_t bytes;
  } types[] = {{"<f2", NpyType::float16, 2}, {"<f4", NpyType::float32, 4}, {"<f8", NpyType::float64, 8},
               {"<u2", NpyType::uint16, 2},  {"<i4", NpyType::int32, 4},   {"<i8", NpyType::int64, 8}};
  for (const auto &row : types) {
    for (const std::string &version : {version_1, version_2}) {
      const std::string data(static_cast<size_t>(6 * row.bytes), '\x01');
      const auto array =
          read_npy(folder.write("a.npy", with_length(version, header_text(row.descr, "False", "(2, 3)"), data)));
      BOOST_REQUIRE(array.ok());
      BOOST_TEST((array.value().type == row.type));
      BOOST_TEST(array.value().shape == (std::vector<int64_t>{2, 3}), boost::test_tools::per_element());
      BOOST_TEST(std::string(array.value().bytes.begin(), array.value().bytes.end()) == data);
    }
  }
}

BOOST_AUTO_TEST_CASE(shapes_of_any_rank) {
  const Folder folder;
  const auto shape_of = [&](const std::string &shape, size_t elements) {
    const auto array = read_npy(folder.write(
        "a.npy", with_length(version_1, header_text("<u2", "False", shape), std::string(elements * 2, 'x'))));
    BOOST_REQUIRE(array.ok());
    return array.value().shape;
  };
  BOOST_TEST(shape_of("()", 1).empty());
  BOOST_TEST(shape_of("(3,)", 3) == (std::vector<int64_t>{3}), boost::test_tools::per_element());
  BOOST_TEST(shape_of("(1, 2, 1, 4)", 8) == (std::vector<int64_t>{1, 2, 1, 4}), boost::test_tools::per_element());
  BOOST_TEST(shape_of("(0, 9223372036854775807)", 0) == (std::vector<int64_t>{0, INT64_MAX}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(damaged_files_are_refused) {
  const Folder folder;
  const std::string good = header_text("<f2", "False", "(2,)");
  const auto shaped = [](const char *shape) {
    return with_length(version_1, header_text("<f8", "False", shape), "12345678");
  };
  const Damaged files[] = {
      {"only 0 bytes", ""},
      {"only 9 bytes", "\x93NUMPY" + version_1 + "x"},
      {"only 10 bytes", "\x93NUMPY" + version_2 + "xx"},
      {"does not begin with", "PK\x03\x04 this is another kind of file"},
      {"version is 3.0", with_length(version_3, good, "1234")},
      {"claims 65535 bytes", "\x93NUMPY" + version_1 + "\xff\xff{'descr'"},
      {"claims 4294967295 bytes", "\x93NUMPY" + version_2 + "\xff\xff\xff\xff{'descr'"},
      {"does not begin with '{'", with_length(version_1, "descr: <f2", "1234")},
      {"',' or '}' was expected", with_length(version_1, "{'descr': '<f2' 'shape': (2,)}", "1234")},
      {"is missing", with_length(version_1, "{'descr': '<f2', 'shape': (2,)}", "1234")},
      {"the key 'color' is unknown", with_length(version_1, "{'color': 'red'}", "1234")},
      {"',' or '}' was expected", with_length(version_1, "{'descr': '<f2'", "")},
      {"a quoted key", with_length(version_1, "{'descr': '<f2', ", "")},
      {"behind the '}'", with_length(version_1, good + "; import os", "1234")},
      {"neither True nor False", with_length(version_1, header_text("<f2", "0", "(2,)"), "1234")},
      {"Fortran order", with_length(version_1, header_text("<f2", "True", "(2, 1)"), "1234")},
      {"type is '>f2'", with_length(version_1, header_text(">f2", "False", "(2,)"), "1234")},
      {"type is '|O'", with_length(version_1, header_text("|O", "False", "(2,)"), "1234")},
      {"structured type",
       with_length(version_1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "1234")},
      {"'shape' is not", shaped("(-1,)")},
      {"'shape' is not", shaped("(9223372036854775808,)")},
      {"'shape' is not", shaped("[1]")},
      {"'shape' is not", shaped("(1 1)")},
      {"more than 2^63", shaped("(4294967296, 4294967296)")},
      {"says float64 [2], 16 bytes of data, but the file holds 8", shaped("(2,)")},
      {"says float64 [], 8 bytes of data, but the file holds 9", shaped("()") + "9"},
      // Nearly 2^63 bytes, and no attempt to get them.
      {"9223372036854775800 bytes of data, but the file holds 8", shaped("(1152921504606846975,)")},
  };
  for (const Damaged &damaged : files) {
    const std::string message = problem_with(folder.write("damaged.npy", damaged.bytes));
    BOOST_TEST(message.find(damaged.why) != std::string::npos, message << " does not say: " << damaged.why);
  }
}

BOOST_AUTO_TEST_CASE(every_cut_of_a_good_file_is_refused) {
  const Folder folder;
  const std::string file = with_length(version_1, header_text("<f4", "False", "(3,)"), "abcdefghijkl");
  for (size_t length = 0; length < file.size(); length++)
    BOOST_TEST(!problem_with(folder.write("cut.npy", file.substr(0, length))).empty(), length << " bytes");
  BOOST_TEST(problem_with(folder.write("cut.npy", file)) == "");
}

BOOST_AUTO_TEST_CASE(only_regular_files_are_read) {
  const Folder folder;
  BOOST_TEST(problem_with(folder.file("absent.npy")).find("No such file") != std::string::npos);
  BOOST_REQUIRE(mkfifo(folder.file("fifo").c_str(), 0600) == 0);
  BOOST_TEST(problem_with(folder.file("fifo")).find("not a regular file") != std::string::npos);
  BOOST_TEST(problem_with("/tmp").find("not a regular file") != std::string::npos);
  BOOST_TEST(problem_with("/dev/zero").find("not a regular file") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_is_written_is_read_again) {
  const Folder folder;
  const float numbers[] = {1.5f, -2.0f, 0.25f, 1e30f, 0.0f, 7.0f};
  for (const std::vector<int64_t> &shape : {std::vector<int64_t>{6}, {2, 3}, {1, 1, 6, 1}, {0, 5}, {}}) {
    const NpyArray array = make_npy(NpyType::float32, shape, numbers);
    BOOST_REQUIRE(write_npy(folder.file("a.npy"), array).ok());
    const auto again = read_npy(folder.file("a.npy"));
    BOOST_REQUIRE(again.ok());
    BOOST_TEST(again.value().shape == shape, boost::test_tools::per_element());
    BOOST_TEST(again.value().bytes == array.bytes, boost::test_tools::per_element());
    BOOST_TEST((filesystem::file_size(folder.file("a.npy")) - array.bytes.size()) % 64 == 0u);  // data begins aligned
  }
  BOOST_TEST(folder.entries() == 1u);
}

BOOST_AUTO_TEST_CASE(values_and_bits) {
  const uint16_t halves[] = {0x3c00, 0xc000};
  const int64_t integers[] = {-5, 7};
  BOOST_TEST(values_of(make_npy(NpyType::float16, {2}, halves)) == (std::vector<double>{1, -2}),
             boost::test_tools::per_element());
  BOOST_TEST(values_of(make_npy(NpyType::uint16, {2}, halves)) == (std::vector<double>{0x3c00, 0xc000}),
             boost::test_tools::per_element());
  BOOST_TEST(values_of(make_npy(NpyType::int64, {2}, integers)) == (std::vector<double>{-5, 7}),
             boost::test_tools::per_element());
  BOOST_TEST(bits_of(make_npy(NpyType::float16, {2}, halves)) == (std::vector<uint16_t>{0x3c00, 0xc000}),
             boost::test_tools::per_element());
  BOOST_TEST(bits_of(make_npy(NpyType::int64, {2}, integers)).empty());
  BOOST_TEST(make_npy(NpyType::float16, {1, 512, 8, 64}, std::vector<uint16_t>(512 * 8 * 64).data()).describe() ==
             "float16 [1, 512, 8, 64]");
}

BOOST_AUTO_TEST_CASE(failed_writes_leave_nothing) {
  const Folder folder;
  const std::vector<float> numbers(100000);
  const NpyArray array = make_npy(NpyType::float32, {100000}, numbers.data());
  const auto problem = [&](const std::string &path) {
    const auto step = write_npy(path, array);
    return step.ok() ? std::string() : step.failure().message;
  };
  BOOST_TEST(problem(folder.file("absent/a.npy")).find("No such file") != std::string::npos);
  BOOST_TEST(problem("/dev/null").find("not a regular file") != std::string::npos);

  // A full disk, as a limit on the size of files: the old file must still be there, whole.
  const std::string path = folder.write("a.npy", "old");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before, small;
  BOOST_REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  small = before;
  small.rlim_cur = 4096;
  BOOST_REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string why = problem(path);
  BOOST_REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
  BOOST_TEST(why.find("File too large") != std::string::npos, why);
  BOOST_TEST(filesystem::file_size(path) == 3u);
  BOOST_TEST(folder.entries() == 1u);
}

BOOST_AUTO_TEST_CASE(a_link_is_followed) {
  const Folder folder;
  const std::string target = folder.write("target.npy", "old");
  filesystem::create_symlink(target, folder.file("link.npy"));
  const float number = 3;
  BOOST_REQUIRE(write_npy(folder.file("link.npy"), make_npy(NpyType::float32, {1}, &number)).ok());
  BOOST_TEST(filesystem::is_symlink(folder.file("link.npy")));
  BOOST_TEST(read_npy(target).ok());
}

BOOST_AUTO_TEST_CASE(an_array_must_fit_its_shape) {
  const Folder folder;
  NpyArray array;
  array.shape = {3};
  array.bytes.resize(8);
  const auto step = write_npy(folder.file("a.npy"), array);
  BOOST_REQUIRE(!step.ok());
  BOOST_TEST(step.failure().message.find("does not fit its 8 bytes") != std::string::npos);
  BOOST_TEST(folder.entries() == 0u);
}
