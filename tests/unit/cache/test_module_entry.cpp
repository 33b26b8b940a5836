// SPDX-License-Identifier: Apache-2.0
//
// An entry comes back as it was written, or it is refused by name: every bit and length of one is tried, and hostile
// contents that carry a correct digest.
#define BOOST_TEST_DYN_LINK 1
#include "cache/module_entry.hpp"

#include <zstd.h>

#include <algorithm>
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <ostream>
#include <random>

#include "cache/module_record.hpp"
#include "extent.hpp"
#include "unit/cache/cache_fixture.hpp"

namespace {

using namespace cache_fixture;
namespace data = boost::unit_test::data;
using Json = nlohmann::json;

constexpr uint32_t record_magic = 0x184D2A5F, digest_magic = 0x184D2A5E;
constexpr size_t trailer_bytes = 40;

void check_corrupt(std::span<const uint8_t> file, const std::string &part_of_message) {
  const Result<ModuleEntry> entry = decode_module_entry(file);
  BOOST_REQUIRE(!entry.ok());
  BOOST_TEST(entry.error().status == FLASHCORE_MODULE_CORRUPT);
  BOOST_TEST_CONTEXT(entry.error().message) { BOOST_TEST(contains(entry.error().message, part_of_message)); }
}

// Give a body (everything before the digest) its right digest.
Bytes sealed(Bytes body) {
  const Digest digest = sha256(body);
  synthetic::append(body, digest_magic);
  synthetic::append<uint32_t>(body, 32);
  body.insert(body.end(), digest.begin(), digest.end());
  return body;
}

Bytes zstd_frame(const Bytes &content, bool with_size = true) {
  ZSTD_CCtx *context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, with_size);
  Bytes frame(ZSTD_compressBound(content.size()));
  frame.resize(ZSTD_compress2(context, frame.data(), frame.size(), content.data(), content.size()));
  ZSTD_freeCCtx(context);
  return frame;
}

struct Parts {
  std::string json;
  Bytes frame;
};

Parts parts_of(const Bytes &file) {
  uint32_t record_bytes = 0;
  std::memcpy(&record_bytes, file.data() + 4, 4);
  return {std::string(file.begin() + 8, file.begin() + 8 + record_bytes),
          Bytes(file.begin() + 8 + record_bytes, file.end() - trailer_bytes)};
}

Bytes joined(const Parts &parts) {
  Bytes body;
  synthetic::append(body, record_magic);
  synthetic::append(body, static_cast<uint32_t>(parts.json.size()));
  body.insert(body.end(), parts.json.begin(), parts.json.end());
  body.insert(body.end(), parts.frame.begin(), parts.frame.end());
  return sealed(std::move(body));
}

// An entry whose record was changed and whose digest is right.
Bytes with_record(const std::function<void(Json &)> &change) {
  Parts parts = parts_of(make_module("m").encoded);
  Json record = Json::parse(parts.json);
  change(record);
  parts.json = record.dump();
  return joined(parts);
}

// An entry that holds another cubin, with the record's digest and size made right.
Bytes with_cubin(const Bytes &cubin) {
  Parts parts = parts_of(make_module("m").encoded);
  Json record = Json::parse(parts.json);
  record["cubin_sha256"] = to_hex(sha256(cubin));
  record["cubin_bytes"] = cubin.size();
  return joined({record.dump(), zstd_frame(cubin)});
}

Bytes with_frame(const std::function<void(Bytes &)> &change) {
  Parts parts = parts_of(make_module("m").encoded);
  change(parts.frame);
  return joined(parts);
}

scratch::Reason zstd_is_installed(boost::unit_test::test_unit_id) {
  return std::system("zstd --version > /dev/null 2>&1") == 0
             ? scratch::Reason(true)
             : scratch::skip_because("the zstd command is not installed");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(module_entry)

BOOST_AUTO_TEST_CASE(round_trip) {
  const Module module = make_module("m", "sm_90a", compiler_b, 1000);
  Result<ModuleEntry> decoded = decode_module_entry(module.encoded);
  BOOST_REQUIRE(decoded.ok());
  const ModuleEntry &entry = decoded.value();
  const ModuleRecord &record = entry.record, &given = module.record;
  BOOST_TEST(entry.cubin == module.cubin);
  for (const auto member : {&ModuleRecord::module, &ModuleRecord::kernel, &ModuleRecord::arch, &ModuleRecord::key,
                            &ModuleRecord::compiler_id, &ModuleRecord::compiler, &ModuleRecord::specialization,
                            &ModuleRecord::source_sha256, &ModuleRecord::headers_sha256, &ModuleRecord::ptxas_log,
                            &ModuleRecord::library_version})
    BOOST_TEST((record.*member == given.*member));
  BOOST_TEST(record.options == given.options);
  BOOST_TEST(record.dynamic_shared_bytes == given.dynamic_shared_bytes);
  BOOST_TEST(record.compile_us == given.compile_us);
  BOOST_TEST(record.cubin_sha256 == to_hex(sha256(module.cubin)));
  BOOST_TEST(record.cubin_bytes == static_cast<int64_t>(module.cubin.size()));
  BOOST_TEST(record.resources.name == "sm80_fwd_mma");
  BOOST_TEST(record.resources.registers == 32);
  BOOST_TEST(entry.cubin_info.arch == 90);
  BOOST_TEST(entry.compressed_bytes == static_cast<int64_t>(parts_of(module.encoded).frame.size()));
  BOOST_TEST(entry.record_json == parts_of(module.encoded).json);
}

BOOST_AUTO_TEST_CASE(equal_modules_give_equal_bytes) {
  BOOST_TEST(make_module("m").encoded == make_module("m").encoded);
}

// A record may travel to another machine: what is in it is a closed list, without hosts, users or paths.
BOOST_AUTO_TEST_CASE(record_holds_the_documented_fields_only) {
  const Json record = Json::parse(parts_of(make_module("m").encoded).json);
  const std::vector<std::string> expected{"arch",
                                          "compile_us",
                                          "compiler",
                                          "compiler_id",
                                          "cubin_bytes",
                                          "cubin_sha256",
                                          "dynamic_shared_bytes",
                                          "headers_sha256",
                                          "kernel",
                                          "key",
                                          "library_version",
                                          "module",
                                          "options",
                                          "ptxas_log",
                                          "resources",
                                          "schema",
                                          "source_sha256",
                                          "specialization"};
  std::vector<std::string> names;
  for (const auto &[name, value] : record.items()) names.push_back(name);
  BOOST_TEST(names == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(zstd_command_gives_the_cubin, *boost::unit_test::precondition(zstd_is_installed)) {
  const scratch::Folder folder;
  const Module module = make_module("m", "sm_89", compiler_a, 5000);
  scratch::write_file(folder.path("entry.fcm"), module.encoded);
  const std::string entry = folder.path("entry.fcm"), cubin = folder.path("k.cubin");
  BOOST_TEST(std::system(("zstd -q -dc '" + entry + "' > '" + cubin + "'").c_str()) == 0);
  BOOST_TEST(scratch::read_bytes(cubin) == module.cubin);
  BOOST_TEST(std::system(("zstd -q -t '" + entry + "'").c_str()) == 0);
}

// The larger one is of the size of a usual module.
BOOST_DATA_TEST_CASE(every_flipped_bit_and_every_cut_is_refused, data::xrange(extent::is_long() ? 2 : 1), which) {
  const Bytes file = make_module("m", "sm_89", compiler_a, which == 0 ? 0 : 27'000).encoded;
  int64_t accepted = 0, tried = 0;
  const auto try_file = [&](std::span<const uint8_t> changed) {
    const Result<ModuleEntry> entry = decode_module_entry(changed);
    accepted += entry.ok() || entry.error().status != FLASHCORE_MODULE_CORRUPT;
    ++tried;
  };
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    Bytes flipped = file;
    flipped[bit / 8] = static_cast<uint8_t>(flipped[bit / 8] ^ 1u << bit % 8);
    try_file(flipped);
  }
  extent::figure(tried, "bits of an entry flipped");
  for (size_t size = 0; size < file.size(); ++size) try_file(std::span(file).first(size));
  for (size_t size = 1; size < file.size(); ++size) try_file(std::span(file).subspan(size));
  extent::figure(tried - static_cast<int64_t>(file.size() * 8), "entries cut short at the end or the beginning");
  Bytes longer = file;
  longer.push_back(0);
  try_file(longer);
  longer = file;
  longer.insert(longer.end(), file.begin(), file.end());
  try_file(longer);
  BOOST_TEST(accepted == 0);
}

// The record as the JSON library would write it: the same bytes, whatever the texts hold.
BOOST_AUTO_TEST_CASE(record_is_written_as_by_the_json_library) {
  std::mt19937 random(7);
  const std::string odd[] = {"",
                             "\"\\/\b\f\n\r\t",
                             std::string("\0\x01\x1f\x7f", 4),
                             "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
                             "\xff",
                             "a\xc3",
                             "\xe2\x82",
                             "\xe2\x82 b",
                             "\xf0\x9f\x98",
                             "\xc0\xaf",
                             "\xe0\x80\x80",
                             "\xed\xa0\x80",
                             "\xf4\x90\x80\x80",
                             "\xf5\x80",
                             "\x80\x80"};
  for (int round = 0; round < 400; ++round) {
    std::string text = odd[static_cast<size_t>(round) % std::size(odd)];
    for (uint32_t i = random() % 20; i > 0; --i) text += static_cast<char>(random());
    ModuleRecord record = make_record("m", "sm_89", compiler_a);
    record.ptxas_log = record.specialization = text;
    record.options.push_back(text);
    record.resources.spill_load_bytes = -1;
    const std::string written = write_module_record(record);
    const Json read = Json::parse(written);
    BOOST_TEST(written == read.dump());  // sorted, no spaces, the same escapes
    const Json of_library = {{"text", text}};
    const Json replaced = Json::parse(of_library.dump(-1, ' ', false, Json::error_handler_t::replace));
    BOOST_TEST(read["ptxas_log"] == replaced["text"]);
    BOOST_TEST(read["options"].back() == replaced["text"]);
  }
}

// Behind the digest stand the other checks: a changed entry with a right digest is refused, or holds the same cubin
// (the change is in free text of its record).
BOOST_AUTO_TEST_CASE(every_flipped_bit_under_a_right_digest_is_refused_or_keeps_the_cubin) {
  const Module module = make_module("m");
  const Bytes body(module.encoded.begin(), module.encoded.end() - trailer_bytes);
  int wrong = 0, kept = 0;
  for (size_t bit = 0; bit < body.size() * 8; ++bit) {
    Bytes flipped = body;
    flipped[bit / 8] = static_cast<uint8_t>(flipped[bit / 8] ^ 1u << bit % 8);
    const Result<ModuleEntry> entry = decode_module_entry(sealed(std::move(flipped)));
    kept += entry.ok();
    wrong += entry.ok() ? entry.value().cubin != module.cubin : entry.error().status != FLASHCORE_MODULE_CORRUPT;
  }
  BOOST_TEST(wrong == 0);
  BOOST_TEST(kept > 0);
}

BOOST_AUTO_TEST_SUITE_END()

namespace {

struct Hostile {
  const char *name, *message;
  std::function<Bytes()> file;
};
std::ostream &operator<<(std::ostream &stream, const Hostile &hostile) { return stream << hostile.name; }

Bytes body_with_record_length(uint32_t length) {
  const Bytes file = make_module("m").encoded;
  Bytes body(file.begin(), file.end() - trailer_bytes);
  synthetic::put(body, 4, length);
  return sealed(body);
}

const Hostile hostile_entries[] = {
    {"nothing", "shorter than its frames", [] { return Bytes(); }},
    {"digest of nothing", "shorter than its frames", [] { return sealed({}); }},
    {"no record", "does not begin with a module record", [] { return sealed(Bytes(100, 'x')); }},
    {"other skippable frame first", "does not begin with a module record",
     [] {
       Bytes file = make_module("m").encoded;
       file.resize(file.size() - trailer_bytes);
       synthetic::put<uint32_t>(file, 0, 0x184D2A50);
       return sealed(file);
     }},
    {"record past the file", "longer than the file", [] { return body_with_record_length(1 << 19); }},
    {"record of 4 GiB", "longer than the file", [] { return body_with_record_length(0xffffffff); }},
    {"record of 2 MiB", "longer than the file or than 1 MiB",
     [] {
       Parts parts = parts_of(make_module("m").encoded);
       parts.json.append(2 << 20, ' ');
       return joined(parts);
     }},
    {"empty record", "no JSON object",
     [] {
       return joined({"", zstd_frame(make_module("m").cubin)});
     }},
    {"record is a list", "no JSON object",
     [] {
       return joined({"[]", zstd_frame(make_module("m").cubin)});
     }},
    {"record cut off", "no JSON object",
     [] {
       Parts parts = parts_of(make_module("m").encoded);
       parts.json.pop_back();
       return joined(parts);
     }},
    {"a million brackets", "no JSON object",
     [] {
       return joined({std::string(1'000'000, '['), {}});
     }},
    {"deep but closed", "schema is missing",
     [] {
       return joined({"{\"schema\":" + std::string(500'000, '[') + std::string(500'000, ']') + "}", {}});
     }},
    {"number past all limits", "no JSON object",
     [] {
       Parts parts = parts_of(make_module("m").encoded);
       const size_t at = parts.json.find("\"cubin_bytes\":") + 14;
       parts.json.insert(at, std::string(400, '9'));
       return joined(parts);
     }},
    {"schema of the future", "schema is 2", [] { return with_record([](Json &record) { record["schema"] = 2; }); }},
    {"negative size", "cubin_bytes", [] { return with_record([](Json &record) { record["cubin_bytes"] = -1; }); }},
    {"size past 2^63", "cubin_bytes",
     [] { return with_record([](Json &record) { record["cubin_bytes"] = UINT64_MAX; }); }},
    {"fractional size", "cubin_bytes", [] { return with_record([](Json &record) { record["cubin_bytes"] = 1.5; }); }},
    {"size of 65 MiB", "cubin_bytes",
     [] { return with_record([](Json &record) { record["cubin_bytes"] = 65 << 20; }); }},
    {"size is not the frame's", "the record says 64",
     [] { return with_record([](Json &record) { record["cubin_bytes"] = 64; }); }},
    {"key in capitals", "key is",
     [] { return with_record([](Json &record) { record["key"] = std::string(64, 'A'); }); }},
    {"key with a path", "key is",
     [] {
       return with_record([](Json &record) { record["key"] = "../../../../../../../../../../../../../etc/passwd"; });
     }},
    {"kernel with a slash", "kernel is", [] { return with_record([](Json &record) { record["kernel"] = "a/b"; }); }},
    {"endless module name", "module is",
     [] { return with_record([](Json &record) { record["module"] = std::string(128, 'm'); }); }},
    {"compiler of two lines", "compiler is",
     [] { return with_record([](Json &record) { record["compiler"] = "a\nb"; }); }},
    {"option is a number", "options holds", [] { return with_record([](Json &record) { record["options"][0] = 3; }); }},
    {"options is an object", "options is no list",
     [] { return with_record([](Json &record) { record["options"] = Json::object(); }); }},
    {"resources is a text", "resources is missing",
     [] { return with_record([](Json &record) { record["resources"] = "none"; }); }},
    {"registers of a liar", "record's registers",
     [] { return with_record([](Json &record) { record["resources"]["registers"] = 31; }); }},
    {"code size of a liar", "record's code_bytes",
     [] { return with_record([](Json &record) { record["resources"]["code_bytes"] = 31; }); }},
    {"digest of another cubin", "does not have the digest",
     [] { return with_record([](Json &record) { record["cubin_sha256"] = hex_of("other"); }); }},
    {"record for sm_90", "the cubin is for sm_89, the record says sm_90",
     [] { return with_record([](Json &record) { record["arch"] = "sm_90"; }); }},
    {"record for sm_89a", "the cubin is for sm_89, the record says sm_89a",
     [] { return with_record([](Json &record) { record["arch"] = "sm_89a"; }); }},
    {"cubin for sm_86", "the cubin is for sm_86", [] { return with_cubin(make_cubin("sm_86", "sm80_fwd_mma")); }},
    {"cubin with another kernel", "has no kernel sm80_fwd_mma",
     [] { return with_cubin(make_cubin("sm_89", "other")); }},
    {"cubin is text", "no sound ELF image", [] { return with_cubin(Bytes(200, 'x')); }},
    {"no frame", "no zstd frame", [] { return with_frame([](Bytes &frame) { frame.clear(); }); }},
    {"raw cubin", "no zstd frame", [] { return with_frame([](Bytes &frame) { frame = make_module("m").cubin; }); }},
    {"frame cut off", "something between",
     [] { return with_frame([](Bytes &frame) { frame.erase(frame.end() - 5, frame.end()); }); }},
    {"frame and a byte", "something between", [] { return with_frame([](Bytes &frame) { frame.push_back(0); }); }},
    {"two frames", "something between",
     [] {
       return with_frame([](Bytes &frame) {
         const Bytes copy = frame;
         frame.insert(frame.end(), copy.begin(), copy.end());
       });
     }},
    {"frame without a size", "does not say its size",
     [] { return with_frame([](Bytes &frame) { frame = zstd_frame(make_module("m").cubin, false); }); }},
    {"frame of another cubin of the same size", "digest of the record",
     [] {
       return with_frame([](Bytes &frame) {
         Bytes cubin = make_module("m").cubin;
         cubin.back() ^= 1;
         frame = zstd_frame(cubin);
       });
     }},
    {"frame that claims 64 MiB", "the record says",
     [] { return with_frame([](Bytes &frame) { frame = zstd_frame(Bytes(64 << 20, 0)); }); }},
};

const char *const record_fields[] = {"arch",
                                     "compile_us",
                                     "compiler",
                                     "compiler_id",
                                     "cubin_bytes",
                                     "cubin_sha256",
                                     "dynamic_shared_bytes",
                                     "headers_sha256",
                                     "kernel",
                                     "key",
                                     "library_version",
                                     "module",
                                     "options",
                                     "ptxas_log",
                                     "resources",
                                     "schema",
                                     "source_sha256",
                                     "specialization"};

}  // namespace

BOOST_AUTO_TEST_SUITE(module_entry_refusals)

BOOST_DATA_TEST_CASE(hostile_content_under_a_right_digest, data::make(hostile_entries), hostile) {
  check_corrupt(hostile.file(), hostile.message);
}

BOOST_DATA_TEST_CASE(record_without_a_field, data::make(record_fields), field) {
  check_corrupt(with_record([&](Json &record) { record.erase(field); }), field);
  check_corrupt(with_record([&](Json &record) { record[field] = nullptr; }), field);
}

// The last of two values counts, of whatever kind; what lies deeper than the fields is none of them.
BOOST_AUTO_TEST_CASE(field_that_comes_twice_or_deeper) {
  const Module module = make_module("m");
  const Json record = Json::parse(parts_of(module.encoded).json);
  const auto read = [&](const std::string &more) {
    std::string json = record.dump();
    json.insert(json.size() - 1, "," + more);
    const Result<ModuleRecord> parsed = parse_module_record(json);
    return parsed.ok() ? std::string("accepted") : parsed.error().message;
  };
  BOOST_TEST(read(R"("compile_us":7)") == "accepted");
  BOOST_TEST(read(R"("options":["one"])") == "accepted");
  BOOST_TEST(read(R"("later":{"schema":2,"registers":"x","options":[3]},"more":[{"key":"short"},["arch"]])") ==
             "accepted");
  BOOST_TEST(contains(read(R"("schema":2)"), "schema is 2"));
  BOOST_TEST(contains(read(R"("schema":null)"), "schema is missing"));
  BOOST_TEST(contains(read(R"("kernel":{"kernel":"x"})"), "kernel is missing"));
  BOOST_TEST(contains(read(R"("cubin_bytes":[64])"), "cubin_bytes"));
  BOOST_TEST(contains(read(R"("options":["one",["two"]])"), "options holds"));
  BOOST_TEST(contains(read(R"("options":["one",{"two":"three"}])"), "options holds"));
  BOOST_TEST(contains(read(R"("options":"one")"), "options is no list"));
  BOOST_TEST(contains(read(R"("resources":{})"), "resources.registers"));
  BOOST_TEST(contains(read(R"("resources":[])"), "resources is missing"));
  std::string nested = record["resources"].dump();
  nested.insert(nested.size() - 1, R"(,"registers":{"registers":32})");
  BOOST_TEST(contains(read("\"resources\":" + nested), "resources.registers"));
}

BOOST_AUTO_TEST_CASE(unknown_field_is_ignored) {
  BOOST_TEST(decode_module_entry(with_record([](Json &record) { record["later"] = {{"a", {1, 2, 3}}}; })).ok());
}

BOOST_AUTO_TEST_CASE(module_that_is_not_what_it_says_is_not_encoded) {
  const Module module = make_module("m");
  const auto fault = [&](const std::function<void(ModuleRecord &)> &change, const Bytes &cubin) {
    ModuleRecord record = module.record;
    change(record);
    const Result<Bytes> encoded = encode_module_entry(record, cubin);
    if (encoded.ok()) return std::string("accepted");
    BOOST_TEST(encoded.error().status == FLASHCORE_INTERNAL);
    return encoded.error().message;
  };
  const auto nothing = [](ModuleRecord &) {};
  BOOST_TEST(contains(fault(nothing, {}), "0 bytes"));
  BOOST_TEST(contains(fault(nothing, Bytes(100, 1)), "no sound ELF image"));
  BOOST_TEST(contains(fault(nothing, make_cubin("sm_90", "sm80_fwd_mma")), "for sm_90, the record says sm_89"));
  BOOST_TEST(contains(fault([](ModuleRecord &record) { record.kernel = "other"; }, module.cubin), "no kernel other"));
  BOOST_TEST(contains(fault([](ModuleRecord &record) { record.key = "short"; }, module.cubin), "key is \"short\""));
  BOOST_TEST(contains(fault([](ModuleRecord &record) { record.compile_us = -5; }, module.cubin), "compile_us is -5"));
  BOOST_TEST(contains(fault([](ModuleRecord &record) { record.specialization.assign(2 << 20, ' '); }, module.cubin),
                      "allowed: 1 MiB"));
}

BOOST_AUTO_TEST_CASE(long_or_odd_compiler_log_does_not_stop_an_entry) {
  ModuleRecord record = make_record("m", "sm_89", compiler_a);
  record.ptxas_log = "\xff\xfe broken text" + std::string(1 << 20, 'x');
  const Result<ModuleEntry> entry = decode_module_entry(encode(record, make_cubin("sm_89", record.kernel)));
  BOOST_REQUIRE(entry.ok());
  BOOST_TEST(entry.value().record.ptxas_log.size() < 70'000u);
  BOOST_TEST(contains(entry.value().record.ptxas_log, " broken text"));
}

BOOST_AUTO_TEST_SUITE_END()
