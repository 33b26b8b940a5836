// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 against the examples of FIPS 180-4 and NIST's collection, every buffer boundary, and the field encoding.
#define BOOST_TEST_DYN_LINK 1
#define BOOST_TEST_MODULE unit_base
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "base/sha256.hpp"

namespace {

using namespace flashcore;

std::string digest_of(const std::string &text) {
  Sha256 hash;
  hash.update(text);
  return to_hex(hash.finish());
}

struct Vector {
  std::string message, digest;
};
std::ostream &operator<<(std::ostream &stream, const Vector &vector) {
  return stream << vector.message.size() << " bytes";
}

const Vector vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
     "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    {std::string(1'000'000, 'a'), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    {"\xbd", "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b"},
    {std::string(55, '\0'), "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7"},
    {std::string(56, '\0'), "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb"},
    {std::string(57, '\0'), "65a16cb7861335d5ace3c60718b5052e44660726da4cd13bb745381b235a1785"},
    {std::string(64, '\0'), "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"},
};

}  // namespace

BOOST_AUTO_TEST_SUITE(sha256_digest)

BOOST_DATA_TEST_CASE(published_vectors, boost::unit_test::data::make(vectors), vector) {
  BOOST_TEST(digest_of(vector.message) == vector.digest);
}

// However a message is cut into updates, the digest is that of the whole.
BOOST_AUTO_TEST_CASE(any_split_gives_the_same_digest) {
  std::string text;
  for (int i = 0; i < 200; ++i) text.push_back(static_cast<char>(i * 7));
  const std::string whole = digest_of(text);
  for (size_t first = 0; first <= text.size(); ++first) {
    Sha256 hash;
    hash.update(text.substr(0, first));
    hash.update(text.substr(first, 3));
    hash.update(text.substr(std::min(first + 3, text.size())));
    BOOST_TEST(to_hex(hash.finish()) == whole);
  }
}

BOOST_AUTO_TEST_CASE(fields_cannot_be_shifted) {
  const auto fields = [](const std::vector<std::pair<std::string, std::string>> &list) {
    Sha256 hash;
    for (const auto &[tag, bytes] : list) hash.update_field(tag, bytes);
    return to_hex(hash.finish());
  };
  const std::string reference = fields({{"a", "bc"}, {"d", ""}});
  BOOST_TEST(fields({{"a", "bc"}, {"d", ""}}) == reference);
  BOOST_TEST(fields({{"ab", "c"}, {"d", ""}}) != reference);
  BOOST_TEST(fields({{"a", "b"}, {"cd", ""}}) != reference);
  BOOST_TEST(fields({{"a", "bcd"}, {"", ""}}) != reference);
  BOOST_TEST(fields({{"d", ""}, {"a", "bc"}}) != reference);
}

BOOST_AUTO_TEST_CASE(hex_is_lower_case_and_padded) {
  const std::vector<uint8_t> bytes{0x00, 0x0f, 0xa0, 0xff};
  BOOST_TEST(to_hex(bytes) == "000fa0ff");
  BOOST_TEST(to_hex({}) == "");
}

BOOST_AUTO_TEST_SUITE_END()
