// SPDX-License-Identifier: Apache-2.0
//
// Reading checks in this order: kind and size of the file, magic, version, header length, header, shape against size,
// and only then memory for the data. Nothing of the header is believed further than the file's size allows.
#include "npy.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "float16.hpp"
#include "memory.hpp"
#include "uninterrupted.hpp"

namespace flashcore::tools {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are taken from the file as they are");

struct TypeRow {
  NpyType type;
  const char *descr;
  const char *name;
  int64_t bytes;
};
constexpr TypeRow type_rows[] = {
    {NpyType::float16, "<f2", "float16", 2}, {NpyType::float32, "<f4", "float32", 4},
    {NpyType::float64, "<f8", "float64", 8}, {NpyType::uint16, "<u2", "uint16", 2},
    {NpyType::int32, "<i4", "int32", 4},     {NpyType::int64, "<i8", "int64", 8},
    {NpyType::uint8, "|u1", "uint8", 1},     {NpyType::uint8, "|b1", "bool", 1},  // read alike, written as the first
};
constexpr std::string_view known_descrs = "'<f2', '<f4', '<f8', '<u2' (bfloat16 bits), '<i4', '<i8', '|u1' and '|b1'";
constexpr std::string_view magic = "\x93NUMPY";
constexpr int64_t preamble_bytes = 8;          // magic and version
constexpr int64_t header_limit_bytes = 65536;  // NumPy writes about 120; more than this is no header of an array

const TypeRow &row_of(NpyType type) {
  for (const TypeRow &row : type_rows)
    if (row.type == type) return row;
  return type_rows[0];  // not reached: every enumerator has a row
}

// --- Header: the few Python literals that NumPy writes -------------------------------------------------------------

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<int64_t> shape;
  bool has_descr = false, has_order = false, has_shape = false;
};

class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  // The header, or what is wrong with it.
  std::optional<std::string> parse(Header &header) {
    if (!take('{')) return "it does not begin with '{'";
    while (!take('}')) {
      std::string key;
      if (!take_text(key) || !take(':')) return "a quoted key and ':' were expected" + here();
      if (auto problem = parse_value(key, header)) return problem;
      if (!take(',') && !peek('}')) return "',' or '}' was expected" + here();
    }
    skip_blanks();
    if (position_ != text_.size()) return "there is text behind the '}'";
    if (!header.has_descr || !header.has_order || !header.has_shape)
      return "one of 'descr', 'fortran_order' and 'shape' is missing";
    return std::nullopt;
  }

 private:
  std::optional<std::string> parse_value(const std::string &key, Header &header) {
    if (key == "descr") {
      header.has_descr = true;
      if (!take_text(header.descr)) return "'descr' is not one quoted type (a structured type, perhaps)";
    } else if (key == "fortran_order") {
      header.has_order = true;
      header.fortran_order = take_word("True");
      if (!header.fortran_order && !take_word("False")) return "'fortran_order' is neither True nor False";
    } else if (key == "shape") {
      header.has_shape = true;
      header.shape.clear();
      if (!take_shape(header.shape)) return "'shape' is not a tuple of numbers from 0 to 2^63-1" + here();
    } else {
      return "the key '" + key + "' is unknown";
    }
    return std::nullopt;
  }

  bool take_shape(std::vector<int64_t> &shape) {
    if (!take('(')) return false;
    while (!take(')')) {
      int64_t size = 0;
      if (!take_number(size)) return false;
      shape.push_back(size);
      if (!take(',') && !peek(')')) return false;
    }
    return true;
  }

  bool take_number(int64_t &number) {
    skip_blanks();
    const size_t begin = position_;
    number = 0;
    for (; position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9'; position_++) {
      if (__builtin_mul_overflow(number, 10, &number)) return false;
      if (__builtin_add_overflow(number, text_[position_] - '0', &number)) return false;
    }
    return position_ != begin;
  }

  bool take_text(std::string &text) {
    skip_blanks();
    if (position_ == text_.size() || (text_[position_] != '\'' && text_[position_] != '"')) return false;
    const size_t end = text_.find(text_[position_], position_ + 1);
    if (end == std::string_view::npos) return false;
    text = text_.substr(position_ + 1, end - position_ - 1);
    position_ = end + 1;
    return true;
  }

  bool take_word(std::string_view word) {
    skip_blanks();
    if (text_.substr(position_, word.size()) != word) return false;
    position_ += word.size();
    return true;
  }

  bool take(char character) { return take_word(std::string_view(&character, 1)); }
  bool peek(char character) {
    skip_blanks();
    return position_ < text_.size() && text_[position_] == character;
  }
  void skip_blanks() {
    while (position_ < text_.size() && std::string_view(" \t\r\n").find(text_[position_]) != std::string_view::npos)
      position_++;
  }
  std::string here() const { return " at byte " + std::to_string(position_) + " of the header"; }

  std::string_view text_;
  size_t position_ = 0;
};

// --- Files ---------------------------------------------------------------------------------------------------------

class OpenFile {
 public:
  explicit OpenFile(int descriptor) : descriptor_(descriptor) {}
  ~OpenFile() {
    if (valid()) ::close(descriptor_);
  }
  OpenFile(const OpenFile &) = delete;
  OpenFile &operator=(const OpenFile &) = delete;
  bool valid() const { return descriptor_ >= 0; }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

bool read_exactly(int descriptor, void *memory, int64_t bytes) {
  auto *cursor = static_cast<uint8_t *>(memory);
  while (bytes > 0) {
    const ssize_t got = uninterrupted([&] { return ::read(descriptor, cursor, static_cast<size_t>(bytes)); });
    if (got <= 0) {
      if (got == 0) errno = EIO;  // the file became shorter while it was read
      return false;
    }
    cursor += got;
    bytes -= got;
  }
  return true;
}

Failure unreadable(const std::string &path, const std::string &why) {
  return input_failure(fmt::format("cannot read {}: {}", path, why));
}
Failure malformed(const std::string &path, const std::string &why) {
  return input_failure(fmt::format("{} is no usable .npy file: {}", path, why));
}

// Header text and its place: data begins at data_begin.
struct HeaderText {
  std::string text;
  int64_t data_begin = 0;
};

Outcome<HeaderText> read_header(const std::string &path, int descriptor, int64_t file_bytes) {
  uint8_t preamble[preamble_bytes + 4];
  if (file_bytes < preamble_bytes + 2) return malformed(path, fmt::format("it has only {} bytes", file_bytes));
  if (!read_exactly(descriptor, preamble, preamble_bytes)) return unreadable(path, std::strerror(errno));
  if (std::memcmp(preamble, magic.data(), magic.size()) != 0)
    return malformed(path, "it does not begin with \\x93NUMPY");
  const int version = preamble[6];
  if (version != 1 && version != 2)
    return malformed(path, fmt::format("its format version is {}.{}; 1.0 and 2.0 are known", version, preamble[7]));
  const int64_t length_bytes = version == 1 ? 2 : 4;
  if (file_bytes < preamble_bytes + length_bytes)
    return malformed(path, fmt::format("it has only {} bytes", file_bytes));
  if (!read_exactly(descriptor, preamble + preamble_bytes, length_bytes)) return unreadable(path, std::strerror(errno));
  int64_t header_bytes = 0;
  for (int64_t i = length_bytes - 1; i >= 0; i--) header_bytes = header_bytes * 256 + preamble[preamble_bytes + i];
  const int64_t data_begin = preamble_bytes + length_bytes + header_bytes;
  if (header_bytes > header_limit_bytes || data_begin > file_bytes)
    return malformed(path, fmt::format("its header claims {} bytes, the file has {} (limit {})", header_bytes,
                                       file_bytes, header_limit_bytes));
  HeaderText header{std::string(static_cast<size_t>(header_bytes), '\0'), data_begin};
  if (!read_exactly(descriptor, header.text.data(), header_bytes)) return unreadable(path, std::strerror(errno));
  return header;
}

Outcome<NpyArray> interpret_header(const std::string &path, const std::string &text) {
  Header header;
  if (auto problem = HeaderParser(text).parse(header)) return malformed(path, "its header is damaged: " + *problem);
  if (header.fortran_order)
    return malformed(path, "it is in Fortran order; save it with numpy.ascontiguousarray(array) first");
  NpyArray array;
  for (const TypeRow &row : type_rows) {
    if (header.descr != row.descr) continue;
    array.type = row.type;
    array.shape = std::move(header.shape);
    return array;
  }
  return malformed(path, fmt::format("its type is '{}'; known are {}", header.descr, known_descrs));
}

// Bytes that a shape needs; nullopt: more than 2^63-1.
std::optional<int64_t> shape_bytes(const NpyArray &array) {
  int64_t bytes = element_bytes(array.type);
  bool overflow = false;
  for (int64_t size : array.shape) {
    if (size == 0) return 0;
    overflow = __builtin_mul_overflow(bytes, size, &bytes) || overflow;
  }
  return overflow ? std::nullopt : std::optional<int64_t>(bytes);
}

// "1, 512, 8, 64". fmt::join would do, but g++ 12 warns about fmt 9's own code behind it.
std::string shape_text(const std::vector<int64_t> &shape) {
  std::string text;
  for (int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return text;
}

std::string header_of(const NpyArray &array) {
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descr_of(array.type),
                                   shape_text(array.shape), array.shape.size() == 1 ? "," : "");
  // Blanks and a line break bring the data to a multiple of 64 bytes, as NumPy does for memory mapping.
  const size_t prefix_bytes = preamble_bytes + 2;
  header.append(63 - (prefix_bytes + header.size()) % 64, ' ');
  header += '\n';
  std::string prefix(magic);
  prefix += {'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  return prefix + header;
}

}  // namespace

int64_t element_bytes(NpyType type) { return row_of(type).bytes; }
const char *descr_of(NpyType type) { return row_of(type).descr; }

std::string NpyArray::describe() const { return fmt::format("{} [{}]", row_of(type).name, shape_text(shape)); }

Outcome<NpyArray> read_npy(const std::string &path) {
  OpenFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a FIFO must not block the open
  if (!file.valid()) return unreadable(path, std::strerror(errno));
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return unreadable(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return unreadable(path, "it is not a regular file");

  TOOLS_TRY_ASSIGN(HeaderText header, read_header(path, file.get(), status.st_size));
  TOOLS_TRY_ASSIGN(NpyArray array, interpret_header(path, header.text));
  const std::optional<int64_t> expected_bytes = shape_bytes(array);
  const int64_t data_bytes = status.st_size - header.data_begin;
  if (!expected_bytes || *expected_bytes != data_bytes)
    return malformed(path,
                     fmt::format("its header says {}, {} bytes of data, but the file holds {}", array.describe(),
                                 expected_bytes ? std::to_string(*expected_bytes) : "more than 2^63", data_bytes));
  if (const Step enough = check_memory({{path, static_cast<double>(data_bytes)}}); !enough.ok())
    return unreadable(path, enough.failure().message);
  array.bytes.resize(static_cast<size_t>(data_bytes));
  if (!read_exactly(file.get(), array.bytes.data(), data_bytes)) return unreadable(path, std::strerror(errno));
  return array;
}

Step write_npy(OutputFile &file, const NpyArray &array) {
  if (shape_bytes(array) != static_cast<int64_t>(array.bytes.size()))
    return Failure{exit_failed_check, fmt::format("cannot write {}: {} does not fit its {} bytes", file.path(),
                                                  array.describe(), array.bytes.size())};
  const std::string header = header_of(array);
  return file.write({{reinterpret_cast<const uint8_t *>(header.data()), header.size()}, array.bytes});
}

Step write_npy(const std::string &path, const NpyArray &array) {
  TOOLS_TRY_ASSIGN(OutputFile file, OutputFile::plan("", path));
  TOOLS_TRY(write_npy(file, array));
  return file.commit();
}

std::vector<uint16_t> bits_of(const NpyArray &array) {
  if (element_bytes(array.type) != 2) return {};
  std::vector<uint16_t> bits(array.bytes.size() / 2);
  if (!bits.empty()) std::memcpy(bits.data(), array.bytes.data(), array.bytes.size());
  return bits;
}

namespace {

template <typename T>
void append_values(const NpyArray &array, std::vector<double> &values) {
  T element;
  for (size_t at = 0; at + sizeof(T) <= array.bytes.size(); at += sizeof(T)) {
    std::memcpy(&element, array.bytes.data() + at, sizeof(T));
    values.push_back(static_cast<double>(element));
  }
}

}  // namespace

std::vector<double> values_of(const NpyArray &array) {
  std::vector<double> values;
  values.reserve(static_cast<size_t>(array.element_count()));
  switch (array.type) {
    case NpyType::float16:
      for (uint16_t bits : bits_of(array)) values.push_back(float16_to_double(bits));
      break;
    case NpyType::float32:
      append_values<float>(array, values);
      break;
    case NpyType::float64:
      append_values<double>(array, values);
      break;
    case NpyType::uint8:
      append_values<uint8_t>(array, values);
      break;
    case NpyType::uint16:
      append_values<uint16_t>(array, values);
      break;
    case NpyType::int32:
      append_values<int32_t>(array, values);
      break;
    case NpyType::int64:
      append_values<int64_t>(array, values);
      break;
  }
  return values;
}

NpyArray make_npy(NpyType type, std::vector<int64_t> shape, const void *elements) {
  NpyArray array{type, std::move(shape), {}};
  const int64_t bytes = shape_bytes(array).value_or(0);
  const auto *begin = static_cast<const uint8_t *>(elements);
  if (bytes > 0) array.bytes.assign(begin, begin + bytes);
  return array;
}

}  // namespace flashcore::tools
