// SPDX-License-Identifier: Apache-2.0
//
// Hopper's part of the emulator, on kernels of a few lines: barriers in shared memory, copies of boxes, products by their definition, and
// what must not be done while they are under way.
#define BOOST_TEST_MODULE test_emulated_hopper
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <functional>

#include "block.hpp"
#include "driver/cuda_driver.hpp"
#include "hopper.hpp"
#include "warp.hpp"

using namespace emulator;

namespace {

using Body = std::function<void(uint32_t thread)>;

void call(const void *body) { (*static_cast<const Body *>(body))(place().thread.x); }

constexpr int64_t shared_bytes = 64 * 1024;
void launch(const Body &body, uint32_t seed = 0, int32_t threads = 128) {
  run({call, &body, 1, threads, shared_bytes, seed});
}

std::string fault_of(const Body &body, uint32_t seed = 0) {
  try {
    launch(body, seed);
  } catch (const Fault &fault) {
    return fault.what();
  }
  return "no fault";
}
bool says(const std::string &fault, const char *words) {
  BOOST_TEST_MESSAGE(fault);
  return fault.find(words) != std::string::npos;
}

uint32_t address_of(int64_t offset) { return static_cast<uint32_t>(1024 + offset); }
constexpr int64_t barrier_at = 60 * 1024;
const uint32_t barrier_address = address_of(barrier_at);

uint16_t &half_at(int64_t offset) { return *reinterpret_cast<uint16_t *>(shared_at("a test", address_of(offset), 2)); }
void store_16(uint32_t address) {
  const unsigned char bytes[16] = {};
  store_shared("st.shared", address, bytes, 16);
}
// Where column `column` of row `row` of a tile of 128-byte rows lies.
int64_t permuted(int64_t row, int64_t column) { return row * 128 + ((column / 8 ^ row % 8) * 8 + column % 8) * 2; }

// A tensor of 70 columns (padded to 72), 5 rows and 2 heads; element (c, r, h) is 1000 h + 100 r + c.
struct Tensor {
  alignas(16) uint16_t elements[2][5][72];
  alignas(64) unsigned char map[128];

  Tensor() {
    for (uint16_t h = 0; h < 2; ++h)
      for (uint16_t r = 0; r < 5; ++r)
        for (uint16_t c = 0; c < 72; ++c) elements[h][r][c] = static_cast<uint16_t>(1000 * h + 100 * r + c);
    const auto driver = flashcore::CudaDriver::load(FAKE_LIBCUDA);
    BOOST_REQUIRE(driver.ok());
    const flashcore::TensorMapLayout layout = {false, {70, 5, 2, 1}, {144, 720, 1440}, {64, 8, 1, 1}};
    BOOST_REQUIRE(driver.value()->encode_tensor_map(layout, reinterpret_cast<uint64_t>(elements), map).ok());
  }
  uint16_t at(int64_t column, int64_t row, int64_t head) const {
    const bool inside = column >= 0 && column < 70 && row >= 0 && row < 5 && head >= 0 && head < 2;
    return inside ? elements[head][row][column] : 0;
  }
};

void prepare_barrier(int32_t arrivals) {
  if (place().thread.x == 0) {
    shared_barrier_init(barrier_address, arrivals);
    shared_barrier_fence();
  }
  block_barrier("__syncthreads", false);
}

}  // namespace

// ---- Barriers ------------------------------------------------------------------------------------------------------
BOOST_AUTO_TEST_CASE(phases_end_with_the_last_arrival) {
  for (uint32_t seed = 0; seed < 12; ++seed) {
    uint32_t arrived = 0;
    bool all = true;
    launch(
        [&](uint32_t thread) {
          prepare_barrier(32);
          shared_barrier_wait(barrier_address, 1);  // of the phase before the first
          block_barrier("__syncthreads", false);
          for (uint32_t phase = 0; phase < 3; ++phase) {
            if (thread < 32) ++arrived, shared_barrier_arrive(barrier_address, 0);
            shared_barrier_wait(barrier_address, phase % 2);
            all &= arrived >= 32 * (phase + 1);
            block_barrier("__syncthreads", false);
          }
        },
        seed);
    BOOST_TEST(all, "seed " << seed);
  }
}

BOOST_AUTO_TEST_CASE(what_is_no_barrier_is_a_fault) {
  BOOST_TEST(says(fault_of([](uint32_t) { shared_barrier_wait(barrier_address, 0); }), "no barrier was initialised"));
  BOOST_TEST(says(fault_of([](uint32_t) {
                    prepare_barrier(128);
                    half_at(barrier_at + 2) = 7;
                    shared_barrier_arrive(barrier_address, 0);
                  }),
                  "was overwritten"));
  BOOST_TEST(says(fault_of([](uint32_t) {
                    prepare_barrier(1);
                    shared_barrier_arrive(barrier_address, 16);
                  }),
                  "the phase has had its 1 arrivals"));
  BOOST_TEST(says(fault_of([](uint32_t) {
                    prepare_barrier(1);
                    shared_barrier_wait(barrier_address, 0);
                  }),
                  "waits at mbarrier.try_wait for threads that do not come"));
  BOOST_TEST(says(fault_of([](uint32_t) { shared_barrier_init(barrier_address + 4, 1); }), "no multiple of 8"));
}

BOOST_AUTO_TEST_CASE(named_barriers_are_met_without_waiting) {
  for (uint32_t seed = 0; seed < 12; ++seed) {
    uint32_t before = 0;
    bool all = true;
    launch(
        [&](uint32_t thread) {
          if (thread < 64) {
            ++before;
            arrive_at_barrier("bar.arrive", 1, 128);
          } else {
            barrier("bar.sync", 1, 128, false);
            all &= before == 64;
          }
        },
        seed);
    BOOST_TEST(all, "seed " << seed);
  }
}

BOOST_AUTO_TEST_CASE(barriers_are_left_complete) {
  BOOST_TEST(says(fault_of([](uint32_t thread) {
                    if (thread < 32) arrive_at_barrier("bar.arrive", 2, 64);
                  }),
                  "all threads have ended, and 32 of 64 were at bar.arrive"));
}

BOOST_AUTO_TEST_CASE(registers_are_taken_when_they_have_been_given_back) {
  uint32_t taken = 0;
  const auto body = [&](int32_t count) {
    return [&taken, count](uint32_t thread) {
      if (thread < 128)
        give_registers_back(24);
      else
        take_registers(count), ++taken;
    };
  };
  launch(body(240), 0, 384);  // 24 + 2 * 240 = 3 * 168
  BOOST_TEST(taken == 256);
  BOOST_CHECK_THROW(launch(body(248), 0, 384), Fault);
  BOOST_TEST(says(fault_of([](uint32_t) { give_registers_back(25); }), "multiples of 8"));
  BOOST_TEST(says(fault_of([](uint32_t) { take_registers(24); }), "to less than the thread has"));
}

// ---- Copies --------------------------------------------------------------------------------------------------------
BOOST_AUTO_TEST_CASE(boxes_are_permuted_and_zeros_outside) {
  const Tensor tensor;
  const BoxPlace places[] = {{0, 0, 0, 0}, {64, 0, 1, 0}, {8, 3, 1, 0}, {-8, -2, 0, 0}, {0, 0, 2, 0}, {0, 0, 0, 1}};
  for (uint32_t seed = 0; seed < 3; ++seed)
    for (const BoxPlace &box : places) {
      int32_t wrong = 0;
      bool there_before = false;
      launch(
          [&](uint32_t thread) {
            prepare_barrier(1);
            if (thread == 0) {
              shared_barrier_arrive(barrier_address, 8 * 128);
              copy_box(address_of(2048), tensor.map, barrier_address, box);
              there_before = half_at(2048) == tensor.at(box.column, box.row, box.batch == 0 ? box.head : 9);
            }
            shared_barrier_wait(barrier_address, 0);
            for (int64_t r = 0; thread == 0 && r < 8; ++r)
              for (int64_t c = 0; c < 64; ++c)
                wrong += half_at(2048 + permuted(r, c)) !=
                         tensor.at(box.column + c, box.row + r, box.batch == 0 ? box.head : 9);
          },
          seed);
      BOOST_TEST(wrong == 0);
      if (seed < 2) BOOST_TEST(there_before == (seed == 1));
    }
}

BOOST_AUTO_TEST_CASE(what_a_copy_must_not_do_is_a_fault) {
  const Tensor tensor;
  const auto copying = [&](int64_t destination, const void *map, int32_t times = 1) {
    return [=](uint32_t thread) {
      prepare_barrier(1);
      if (thread != 0) return;
      shared_barrier_arrive(barrier_address, static_cast<uint32_t>(times) * 1024);
      for (int32_t i = 0; i < times; ++i) copy_box(address_of(destination), map, barrier_address, {0, 0, 0, 0});
    };
  };
  BOOST_TEST(says(fault_of(copying(64, tensor.map)), "no multiple of 128"));
  BOOST_TEST(says(fault_of(copying(shared_bytes - 128, tensor.map)), "the launch asked for"));
  alignas(64) const unsigned char nothing[128] = {};
  BOOST_TEST(says(fault_of(copying(0, nothing)), "this is no tensor map"));
  BOOST_TEST(says(fault_of(copying(0, tensor.map, 2)), "where another is under way"));
  BOOST_TEST(says(fault_of(copying(0, tensor.map)), "all threads have ended, and copies are under way"));
  BOOST_TEST(says(fault_of([&](uint32_t thread) {
                    if (thread != 0) return;
                    shared_barrier_init(barrier_address, 1);
                    copy_box(address_of(0), tensor.map, barrier_address, {0, 0, 0, 0});
                  }),
                  "without fence.mbarrier_init"));
  BOOST_TEST(says(fault_of([&](uint32_t thread) {
                    prepare_barrier(1);
                    if (thread == 0) {
                      shared_barrier_arrive(barrier_address, 1024 + 16);
                      copy_box(address_of(0), tensor.map, barrier_address, {0, 0, 0, 0});
                    }
                    shared_barrier_wait(barrier_address, 0);
                  }),
                  "for threads that do not come"));
}

// ---- Products ------------------------------------------------------------------------------------------------------
namespace {

// Small whole numbers, so that every sum is exact.
float a_of(int64_t i, int64_t k) { return static_cast<float>((i * 3 + k * 5) % 11 - 5); }
float b_of(int64_t k, int64_t j) { return static_cast<float>((k * 7 + j * 2) % 13 - 6); }
constexpr int64_t a_tile = 0, b_tile = 8192, panel_bytes = 2048;
constexpr int32_t columns = 128;

uint64_t descriptor(int64_t offset, int64_t panel) {
  return static_cast<uint64_t>(address_of(offset) >> 4) | static_cast<uint64_t>(panel >> 4) << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}
// A along its rows, and B down its columns: sixteen rows of two panels.
void store_tiles(bool b_is_transposed) {
  if (place().thread.x == 0)
    for (int64_t k = 0; k < 16; ++k) {
      for (int64_t i = 0; i < 64; ++i) half_at(a_tile + permuted(i, k)) = bits16_of(a_of(i, k), false);
      for (int64_t j = 0; j < columns; ++j)
        half_at(b_tile + (b_is_transposed ? j / 64 * panel_bytes + permuted(k, j % 64) : permuted(j, k))) =
            bits16_of(b_of(k, j), false);
    }
  block_barrier("__syncthreads", false);
}
struct Fragment {
  float c[columns / 2];
  uint32_t a[4];

  explicit Fragment(uint32_t thread) {
    for (float &x : c) x = 0.5f;
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8, k = i / 2 * 8 + thread % 4 * 2;
      a[i] = bits16_of(a_of(row, k), false) | uint32_t{bits16_of(a_of(row, k + 1), false)} << 16;
    }
  }
  Operands shared(bool accumulate) {
    return {c, nullptr, descriptor(a_tile, 16), descriptor(b_tile, 16), columns, false, accumulate, false};
  }
  Operands registers() { return {c, a, 0, descriptor(b_tile, panel_bytes), columns, true, true, false}; }
  int32_t wrong(uint32_t thread, float before, float times) const {
    int32_t count = 0;
    for (uint32_t i = 0; i < columns / 2; ++i) {
      const uint32_t row = thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8, j = i / 4 * 8 + thread % 4 * 2 + i % 2;
      float sum = 0;
      for (int64_t k = 0; k < 16; ++k) sum += a_of(row, k) * b_of(k, j);
      count += c[i] != before + times * sum;
    }
    return count;
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(products_follow_their_definition) {
  for (uint32_t seed = 0; seed < 6; ++seed) {
    int32_t wrong = 0, there_before = 0;
    launch(
        [&](uint32_t thread) {
          for (const bool in_registers : {false, true}) {
            block_barrier("__syncthreads", false);
            store_tiles(in_registers);
            Fragment own(thread);
            for (float times = 1; times < 3; ++times) {
              fence_registers();
              multiply_in_background(in_registers ? own.registers() : own.shared(times > 1));
              multiply_in_background(in_registers ? own.registers() : own.shared(true));
              end_product_group();
              there_before += own.wrong(thread, in_registers ? 0.5f : 0, 2 * times) == 0;
              wait_for_products(0);
              wrong += own.wrong(thread, in_registers ? 0.5f : 0, 2 * times);
            }
          }
        },
        seed);
    BOOST_TEST(wrong == 0, "seed " << seed);
    BOOST_TEST(there_before == 0, "seed " << seed);
  }
}

BOOST_AUTO_TEST_CASE(groups_are_waited_for_in_their_order) {
  int32_t wrong = 0, second_there = 0;
  launch([&](uint32_t thread) {
    store_tiles(false);
    Fragment first(thread), second(thread);
    fence_registers();
    multiply_in_background(first.shared(false));
    end_product_group();
    multiply_in_background(second.shared(true));
    end_product_group();
    wait_for_products(1);
    wrong += first.wrong(thread, 0, 1), second_there += second.wrong(thread, 0.5f, 1) == 0;
    wait_for_products(0);
    wrong += second.wrong(thread, 0.5f, 1);
  });
  BOOST_TEST(wrong == 0);
  BOOST_TEST(second_there == 0);
}

BOOST_AUTO_TEST_CASE(what_must_not_happen_to_a_product_is_a_fault) {
  // `between`: after the product, before the wait.
  const auto around = [](const std::function<void(Fragment &)> &before,
                         const std::function<void(Fragment &)> &between) {
    return [=](uint32_t thread) {
      store_tiles(true);
      Fragment own(thread);
      if (before) before(own);
      multiply_in_background(own.registers());
      end_product_group();
      if (between) between(own);
      wait_for_products(0);
    };
  };
  const auto fence = [](Fragment &) { fence_registers(); };
  for (uint32_t seed = 0; seed < 6; ++seed) {
    BOOST_TEST(fault_of(around(fence, nullptr), seed) == "no fault");
    BOOST_TEST(says(fault_of(around(nullptr, nullptr), seed), "without a wgmma.fence before"));
    BOOST_TEST(says(fault_of(around(fence, [](Fragment &own) { own.c[3] = 1; }), seed),
                    "accumulators of wgmma were written before they were waited for"));
    BOOST_TEST(says(fault_of(around(fence, [](Fragment &own) { own.a[2] ^= 1; }), seed),
                    "registers of A of wgmma were written before it was waited for"));
    const auto again = [](const std::function<void(Fragment &)> &change) {
      return [=](Fragment &own) {
        wait_for_products(0);
        change(own);
        multiply_in_background(own.registers());
        end_product_group();
      };
    };
    BOOST_TEST(fault_of(around(fence, again([](Fragment &) {})), seed) == "no fault");
    BOOST_TEST(says(fault_of(around(fence, again([](Fragment &own) { own.c[3] = 1; })), seed),
                    "its accumulators were written after the last wgmma.fence"));
    BOOST_TEST(says(fault_of(around(fence, again([](Fragment &own) { own.a[0] = 1; })), seed),
                    "its registers of A were written after the last wgmma.fence"));
  }
  BOOST_TEST(says(fault_of([](uint32_t thread) {
                    store_tiles(true);
                    Fragment own(thread);
                    fence_registers();
                    multiply_in_background(own.registers());
                  }),
                  "all threads have ended, and products are under way"));
  BOOST_TEST(says(fault_of([](uint32_t thread) {
                    Fragment own(thread);
                    fence_registers();
                    if (thread >= 32) return;
                    multiply_in_background(own.registers());
                    end_product_group();
                    wait_for_products(0);
                  }),
                  "waits at wgmma.wait_group for threads that do not come"));
}

BOOST_AUTO_TEST_CASE(copies_and_products_keep_away_from_each_other) {
  const Tensor tensor;
  const auto copy = [&](int64_t destination) {
    if (place().thread.x != 0) return;
    shared_barrier_arrive(barrier_address, 1024);
    copy_box(address_of(destination), tensor.map, barrier_address, {0, 0, 0, 0});
  };
  const auto body = [&](bool copy_first, int64_t destination) {
    return [=, &tensor](uint32_t thread) {
      prepare_barrier(1);
      store_tiles(true);
      Fragment own(thread);
      if (copy_first) copy(destination), block_barrier("__syncthreads", false);
      fence_registers();
      multiply_in_background(own.registers());
      end_product_group();
      if (!copy_first) block_barrier("__syncthreads", false), copy(destination), block_barrier("__syncthreads", false);
      wait_for_products(0);
      shared_barrier_wait(barrier_address, 0);
    };
  };
  constexpr uint32_t late_copies = 0;
  BOOST_TEST(fault_of(body(true, 0), late_copies) == "no fault");
  BOOST_TEST(says(fault_of(body(true, b_tile), late_copies), "where a copy is under way"));
  for (uint32_t seed = 0; seed < 6; ++seed)
    BOOST_TEST(says(fault_of(body(false, b_tile + panel_bytes), seed), "which a product under way reads"));
  BOOST_TEST(says(fault_of([](uint32_t thread) {
                    store_tiles(true);
                    Fragment own(thread);
                    fence_registers();
                    multiply_in_background(own.registers());
                    store_16(address_of(b_tile + 48));
                  }),
                  "st.shared to bytes 8240 to 8255 of shared memory, which a product under way reads"));
  BOOST_TEST(says(fault_of([](uint32_t thread) {
                    Fragment own(thread);
                    if (thread == 7) store_16(address_of(b_tile + 48));
                    block_barrier("__syncthreads", false);
                    fence_registers();
                    multiply_in_background(own.registers());
                  }),
                  "thread 7 has stored without fence.proxy.async"));
}

// Under every seed, whatever has happened to be there already.
BOOST_AUTO_TEST_CASE(boxes_and_products_are_in_races) {
  const Tensor tensor;
  enum Mistake { none, no_wait, read_before };
  const auto copied = [&](Mistake mistake) {
    return [&tensor, mistake](uint32_t thread) {
      uint32_t word;
      prepare_barrier(1);
      if (mistake == read_before && thread == 40) load_shared("ld.shared", address_of(512), &word, 4);
      if (thread == 0) {
        shared_barrier_arrive(barrier_address, 1024);
        copy_box(address_of(0), tensor.map, barrier_address, {0, 0, 0, 0});
      }
      if (mistake != no_wait || thread == 0) shared_barrier_wait(barrier_address, 0);
      if (thread == 41) load_shared("ld.shared", address_of(512), &word, 4);
    };
  };
  const auto multiplied = [](bool ordered) {
    return [ordered](uint32_t thread) {
      store_tiles(true);
      Fragment own(thread);
      if (thread == 7) store_16(address_of(b_tile + 48));
      fence_stores_for_async();
      if (ordered) block_barrier("__syncthreads", false);
      fence_registers();
      multiply_in_background(own.registers());
      end_product_group();
      wait_for_products(0);
      if (thread == 60) store_16(address_of(b_tile + 48));
    };
  };
  for (uint32_t seed = 0; seed < 6; ++seed) {
    BOOST_TEST(fault_of(copied(none), seed) == "no fault");
    BOOST_TEST(says(fault_of(copied(no_wait), seed), "a race at bytes 51"));
    BOOST_TEST(says(fault_of(copied(read_before), seed), "a race at bytes 51"));
    BOOST_TEST(fault_of(multiplied(true), seed) == "no fault");
    const std::string fault = fault_of(multiplied(false), seed);
    BOOST_TEST((says(fault, "a race at bytes 824") || says(fault, "which a product under way reads")));
  }
}
