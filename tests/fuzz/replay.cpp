// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz target without libFuzzer: on its seeds, on every input of its corpus, and on mutations of both under a fixed seed, so that
// two runs do the same. A corpus is one file: of each input its length (4 bytes, little-endian) and its bytes.
//
// usage: replay CORPUS MUTATIONS
//        replay --unpack CORPUS FOLDER    seeds and corpus as files, for libFuzzer
//        replay --pack FOLDER CORPUS      and back
#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include <sys/mman.h>
#include <unistd.h>

#include "extent.hpp"
#include "fuzz_target.hpp"

namespace {

namespace filesystem = std::filesystem;
using fuzz::Bytes;

constexpr size_t largest_input_bytes = 1 << 16;
constexpr unsigned seconds_for_one_input = 20;

Bytes last_input;

// What ended the process stays in a file; FLASHCORE_FUZZ_FOUND names it.
void keep_last_input(int signal) {
  const char *path = std::getenv("FLASHCORE_FUZZ_FOUND");
  if (path != nullptr) {
    std::FILE *file = std::fopen(path, "wb");
    if (file != nullptr) {
      std::fwrite(last_input.data(), 1, last_input.size(), file);
      std::fclose(file);
    }
  }
  std::signal(signal, SIG_DFL);
  raise(signal);
}

// Inputs end where a page begins that nobody may read.
uint8_t *guarded_end() {
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
  void *memory = mmap(nullptr, largest_input_bytes + page_bytes, protection, flags, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  uint8_t *const end = static_cast<uint8_t *>(memory) + largest_input_bytes;
  if (mprotect(end, page_bytes, PROT_NONE) != 0) std::abort();
  return end;
}

void run(const Bytes &input) {
  last_input = input;
  alarm(seconds_for_one_input);
  static uint8_t *const end = guarded_end();
  uint8_t *const data = end - input.size();
  std::copy(input.begin(), input.end(), data);
  LLVMFuzzerTestOneInput(data, input.size());
}

Bytes read_file(const filesystem::path &path) {
  std::ifstream stream(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
}

bool write_file(const filesystem::path &path, const Bytes &bytes) {
  std::ofstream stream(path, std::ios::binary);
  stream.write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return stream.flush().good();
}

// Seeds first. Empty where the corpus is damaged.
std::vector<Bytes> read_inputs(const filesystem::path &corpus) {
  std::vector<Bytes> inputs = fuzz::seeds();
  const Bytes file = read_file(corpus);
  for (size_t at = 0; at < file.size();) {
    uint32_t size = 0;
    if (file.size() - at < sizeof(size)) return {};
    std::memcpy(&size, file.data() + at, sizeof(size));
    at += sizeof(size);
    if (size > largest_input_bytes || file.size() - at < size) return {};
    inputs.emplace_back(file.begin() + static_cast<ptrdiff_t>(at), file.begin() + static_cast<ptrdiff_t>(at + size));
    at += size;
  }
  return inputs;
}

int unpack(const filesystem::path &corpus, const filesystem::path &folder) {
  filesystem::create_directories(folder);
  const std::vector<Bytes> inputs = read_inputs(corpus);
  for (size_t i = 0; i < inputs.size(); ++i)
    if (!write_file(folder / std::to_string(i), inputs[i])) return 1;
  return inputs.empty() ? 1 : 0;
}

int pack(const filesystem::path &folder, const filesystem::path &corpus) {
  std::vector<filesystem::path> paths;
  for (const auto &entry : filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  Bytes file;
  for (const filesystem::path &path : paths) {
    const Bytes input = read_file(path);
    const auto size = static_cast<uint32_t>(input.size());
    const auto *bytes = reinterpret_cast<const uint8_t *>(&size);
    file.insert(file.end(), bytes, bytes + sizeof(size));
    file.insert(file.end(), input.begin(), input.end());
  }
  return write_file(corpus, file) ? 0 : 1;
}

uint64_t odd_number(std::mt19937_64 &random) {
  constexpr uint64_t numbers[] = {0,    1,      2,      7,      8,          0x7f,       0x80,
                                  0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};
  return random() % 4 == 0 ? random() : numbers[random() % std::size(numbers)] + random() % 3 - 1;
}

// A few small changes: bits, numbers, pieces taken out, doubled, or brought in from another input.
Bytes mutated(Bytes bytes, const Bytes &other, std::mt19937_64 &random) {
  for (uint64_t changes = 1 + random() % 4; changes > 0; --changes) {
    const size_t size = bytes.size(), at = size == 0 ? 0 : random() % size;
    const auto position = bytes.begin() + static_cast<ptrdiff_t>(at);
    const size_t count = std::min<size_t>(1 + random() % 32, size - at);
    switch (size == 0 ? 4 : random() % 7) {
      case 0:
        bytes[at] = static_cast<uint8_t>(bytes[at] ^ 1u << random() % 8);
        break;
      case 1:
        bytes[at] = static_cast<uint8_t>(random());
        break;
      case 2: {
        const uint64_t number = odd_number(random);
        std::memcpy(bytes.data() + at, &number, std::min<size_t>(size - at, size_t{1} << random() % 4));
        break;
      }
      case 3:
        bytes.erase(position, position + static_cast<ptrdiff_t>(count));
        break;
      case 4:
        if (!other.empty()) {
          const size_t from = random() % other.size(), taken = std::min<size_t>(1 + random() % 64, other.size() - from);
          bytes.insert(position, other.begin() + static_cast<ptrdiff_t>(from),
                       other.begin() + static_cast<ptrdiff_t>(from + taken));
        }
        break;
      case 5: {
        const Bytes piece(position, position + static_cast<ptrdiff_t>(count));
        bytes.insert(position, piece.begin(), piece.end());
        break;
      }
      default:
        bytes.resize(at);
    }
  }
  bytes.resize(std::min(bytes.size(), largest_input_bytes));
  return bytes;
}

}  // namespace

int main(int count, char **words) {
  if (count == 4 && std::strcmp(words[1], "--unpack") == 0) return unpack(words[2], words[3]);
  if (count == 4 && std::strcmp(words[1], "--pack") == 0) return pack(words[2], words[3]);
  if (count != 3) return 2;
  for (const int signal : {SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV}) std::signal(signal, keep_last_input);
  const std::vector<Bytes> inputs = read_inputs(words[1]);
  if (inputs.empty()) return 1;
  for (const Bytes &input : inputs) run(input);
  const int64_t mutations = std::atoll(words[2]);
  std::mt19937_64 random(20261);
  const size_t seeds = fuzz::seeds().size();  // every second time one of these: they reach deepest
  for (int64_t i = 0; i < mutations; ++i)
    run(mutated(inputs[random() % (i % 2 == 0 ? seeds : inputs.size())], inputs[random() % inputs.size()], random));
  extent::figure(static_cast<int64_t>(inputs.size()) + mutations, "executions of seeds, corpus and mutations");
  return 0;
}
