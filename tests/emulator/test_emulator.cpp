// SPDX-License-Identifier: Apache-2.0
//
// The emulator itself, on kernels of a few lines: what it must stop, where copies land, and fragments by their definition.
#define BOOST_TEST_MODULE test_emulator
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <functional>

#include "block.hpp"
#include "warp.hpp"

using namespace emulator;

namespace {

using Body = std::function<void(uint32_t thread)>;

void call(const void *body) { (*static_cast<const Body *>(body))(place().thread.x); }

void launch(const Body &body, uint32_t seed = 0, int32_t threads = 64, int64_t shared_bytes = 1024) {
  run({call, &body, 1, threads, shared_bytes, seed});
}

void launch_cluster(const Body &body, uint32_t seed = 0, int32_t cluster = 4) {
  run({call, &body, 2 * cluster, 64, 1024, seed, cluster});
}

// The fault of a launch, which there must be.
std::string fault_of(
    const Body &body, const std::function<void(const Body &)> &launched = [](const Body &body) { launch(body); }) {
  try {
    launched(body);
  } catch (const Fault &fault) {
    return fault.what();
  }
  return "no fault";
}

bool says(const std::string &fault, const char *words) { return fault.find(words) != std::string::npos; }

// Of the block that runs.
uint32_t address_of(uint32_t offset) { return (1024 + offset) | static_cast<uint32_t>(cluster_rank()) << 24; }

float float_at(uint32_t offset) {
  float value;
  std::memcpy(&value, shared_at("a test", address_of(offset), 4), 4);
  return value;
}

}  // namespace

BOOST_AUTO_TEST_CASE(threads_meet_at_barriers) {
  for (uint32_t seed = 0; seed < 12; ++seed) {
    uint32_t before = 0;
    bool all = true;
    launch(
        [&](uint32_t) {
          ++before;
          block_barrier("__syncthreads", false);
          all &= before == 64;
        },
        seed);
    BOOST_TEST(all, "seed " << seed);
  }
}

BOOST_AUTO_TEST_CASE(groups_meet_at_barriers_of_their_own) {
  uint32_t before[2] = {};
  bool all = true;
  launch([&](uint32_t thread) {
    const uint32_t group = thread / 32;
    ++before[group];
    barrier("bar.sync", static_cast<int32_t>(group) + 1, 32, false);
    all &= before[group] == 32;
  });
  BOOST_TEST(all);
}

BOOST_AUTO_TEST_CASE(seeds_change_the_order) {
  const auto order_of = [](uint32_t seed) {
    std::vector<uint32_t> order;
    launch([&](uint32_t thread) { order.push_back(thread); }, seed);
    return order;
  };
  BOOST_TEST((order_of(0) == order_of(0)));
  BOOST_TEST((order_of(0) != order_of(6)));
}

BOOST_AUTO_TEST_CASE(what_does_not_meet_is_a_fault) {
  BOOST_TEST(says(fault_of([](uint32_t thread) {
                    if (thread != 5) block_barrier("__syncthreads", false);
                  }),
                  "waits at __syncthreads for threads that do not come"));
  BOOST_TEST(says(fault_of([](uint32_t thread) {
                    if (thread != 5) any(true);
                  }),
                  "waits at a vote for threads that do not come"));
  BOOST_TEST(says(fault_of([](uint32_t thread) {
                    if (thread == 5)
                      any(true);
                    else
                      shuffle(0, 0);
                  }),
                  "where other lanes of the warp are at"));
  BOOST_TEST(
      says(fault_of([](uint32_t thread) { block_barrier(thread == 5 ? "__syncthreads_or" : "__syncthreads", false); }),
           "where others are at"));
}

BOOST_AUTO_TEST_CASE(shared_memory_has_bounds) {
  BOOST_TEST(
      says(fault_of([](uint32_t) { shared_at("ld.shared", address_of(1024), 4); }), "the launch asked for 1024"));
  BOOST_TEST(says(fault_of([](uint32_t) { shared_at("ld.shared", 0, 4); }), "ld.shared: bytes -1024"));
  BOOST_TEST(says(fault_of([](uint32_t) { shared_at("ld.shared.v4", address_of(8), 16); }), "no multiple of 16"));
  BOOST_TEST(says(fault_of([](uint32_t) {
                    uint32_t r[4];
                    wmma_load(r, 4, address_of(512), 16 * 2, Order::rows);
                  }),
                  "wmma.load: bytes 1024 to 1025"));
  BOOST_TEST(says(fault_of([](uint32_t) { shared_at("a test", address_of(0), 1)[1030] = 1; }),
                  "shared memory was written at byte 1030"));
}

BOOST_AUTO_TEST_CASE(global_memory_is_aligned) {
  alignas(16) const unsigned char bytes[32] = {};
  BOOST_TEST(says(fault_of([&](uint32_t) { copy_in_background(address_of(0), bytes + 2, 16); }), "no multiple of 16"));
}

BOOST_AUTO_TEST_CASE(memory_begins_as_nan) {
  bool all = true;
  launch([&](uint32_t thread) { all &= float_at(thread * 4) != float_at(thread * 4); });
  BOOST_TEST(all);
}

// Late by the first seed, at once by the second: each shows what the other hides.
BOOST_AUTO_TEST_CASE(copies_arrive_when_the_seed_says) {
  alignas(16) const float source[4] = {1, 2, 3, 4};
  for (uint32_t seed : {0u, 1u}) {
    bool there_before = false, there_after = false, zeros = false, second_waits = false;
    launch(
        [&](uint32_t thread) {
          if (thread != 0) return;
          copy_in_background(address_of(0), source, 16);
          end_copy_group();
          copy_in_background(address_of(16), nullptr, 0);
          end_copy_group();
          there_before = float_at(4) == 2;
          wait_for_copies(1);
          there_after = float_at(4) == 2;
          second_waits = float_at(16) != 0;
          wait_for_copies(0);
          zeros = float_at(16) == 0;
        },
        seed);
    BOOST_TEST(there_before == (seed == 1));
    BOOST_TEST(second_waits == (seed == 0));
    BOOST_TEST(there_after);
    BOOST_TEST(zeros);
  }
}

BOOST_AUTO_TEST_CASE(lanes_exchange) {
  bool shuffled = true, voted = true, transposed = true;
  launch([&](uint32_t thread) {
    const uint32_t lane = thread % 32;
    shuffled &= shuffle(lane * 3, lane ^ 5) == (lane ^ 5) * 3;
    voted &= any(thread == 40) == (thread >= 32);
    voted &= ballot(thread % 5 == 0) == (thread < 32 ? 0x42108421u : 0x10842108u);
    // Element (row, column) of the matrix is 8 * row + column.
    const uint32_t first = lane / 4 * 8 + lane % 4 * 2, expected = lane % 4 * 16 + lane / 4;
    transposed &= transpose_8x8(first | (first + 1) << 16) == (expected | (expected + 8) << 16);
  });
  BOOST_TEST(shuffled);
  BOOST_TEST(voted);
  BOOST_TEST(transposed);
}

// ---- Clusters: each block has its own bytes, and sees those of the others behind a barrier.
BOOST_AUTO_TEST_CASE(blocks_of_a_cluster_read_each_other) {
  for (uint32_t seed = 0; seed < 12; ++seed) {
    bool all = true;
    uint32_t ran = 0;
    launch_cluster(
        [&](uint32_t thread) {
          const uint32_t block = place().block.x, own = address_of(thread * 4);
          ++ran;
          block_barrier("__syncthreads", false);  // where blocks may be changed
          std::memcpy(shared_at("a test", own, 4), &block, 4);
          cluster_barrier("barrier.cluster");
          for (int32_t rank = 0; rank < 4; ++rank) {
            uint32_t there;
            load_cluster_shared("a test", cluster_address("mapa", own, rank), &there, 4);
            all &= there == block / 4 * 4 + static_cast<uint32_t>(rank);
          }
          cluster_barrier("barrier.cluster");
        },
        seed);
    BOOST_TEST(all, "seed " << seed);
    BOOST_TEST(ran == 8 * 64);
  }
}

BOOST_AUTO_TEST_CASE(threads_that_have_ended_count_at_a_cluster_barrier) {
  uint32_t passed = 0;
  launch_cluster([&](uint32_t thread) {
    if (thread < 32) return;
    cluster_barrier("barrier.cluster");
    ++passed;
  });
  BOOST_TEST(passed == 8 * 32);
}

BOOST_AUTO_TEST_CASE(what_a_cluster_must_not_do_is_a_fault) {
  const auto in_cluster = [](const Body &body) { launch_cluster(body, 3); };
  const auto read = [](int32_t rank, uint32_t offset) {
    uint32_t there;
    load_cluster_shared("ld.shared::cluster", cluster_address("mapa", address_of(0), rank) + offset, &there, 4);
  };
  BOOST_TEST(says(fault_of([&](uint32_t) { read(4, 0); }, in_cluster), "mapa: block 4 of a cluster of 4"));
  BOOST_TEST(says(fault_of([&](uint32_t) { read(1, 0); }), "mapa: block 1 of a cluster of 1"));
  const auto of_another = [](uint32_t) { shared_at("st.shared", cluster_address("mapa", address_of(0), 3), 4); };
  BOOST_TEST(says(fault_of(of_another, in_cluster), "st.shared: an address of block 3 of the cluster"));
  const Body too_far = [&](uint32_t) {
    cluster_barrier("barrier.cluster");
    read(1, 1024);
  };
  BOOST_TEST(says(fault_of(too_far, in_cluster), "ld.shared::cluster: bytes 1024 to 1027"));
  BOOST_TEST(says(fault_of([&](uint32_t) { read(static_cast<int32_t>(place().block.x + 1) % 4, 0); }, in_cluster),
                  "which has not begun"));
  const Body left_alone = [&](uint32_t) {
    cluster_barrier("barrier.cluster");
    read(static_cast<int32_t>(place().block.x + 1) % 4, 0);
  };
  BOOST_TEST(says(fault_of(left_alone, in_cluster), "which has ended"));
  const Body one_stays_away = [&](uint32_t thread) {
    if (thread != 5)
      cluster_barrier("barrier.cluster");
    else
      block_barrier("__syncthreads", false);
  };
  BOOST_TEST(says(fault_of(one_stays_away, in_cluster), "for threads that do not come"));
  BOOST_TEST(says(fault_of([](uint32_t) {},
                           [](const Body &body) {
                             run({call, &body, 6, 64, 1024, 0, 4});
                           }),
                  "cluster is 4 for 6 blocks"));
}

BOOST_AUTO_TEST_CASE(a_grid_has_blocks_along_y) {
  int32_t times[3][4] = {};
  bool right = true;
  const Body body = [&](uint32_t thread) {
    right &= place().grid.x == 4 && place().grid.y == 3 && place().grid.z == 1 && place().block.z == 0;
    right &= cluster_rank() == static_cast<int32_t>(place().block.x % 2);
    if (thread == 0) ++times[place().block.y][place().block.x];
  };
  run({call, &body, 4, 64, 1024, 0, 2, 3});
  for (const auto &row : times)
    for (const int32_t of_block : row) right &= of_block == 1;
  BOOST_TEST(right);
  const Body faulty = [](uint32_t) { shared_at("a test", 0, 4); };
  BOOST_TEST(says(fault_of(faulty,
                           [](const Body &one) {
                             run({call, &one, 4, 64, 1024, 0, 1, 3});
                           }),
                  "block 0, 0, warp"));
}

// Each cluster finds NaN there until one of its threads has waited, and what was written afterwards.
BOOST_AUTO_TEST_CASE(what_the_launch_ahead_wrote_comes_with_the_wait) {
  alignas(4) unsigned char memory[4];
  const WrittenAhead ahead = {memory, {1, 2, 3, 4}};
  int32_t early = 0, late = 0;
  const Body body = [&](uint32_t thread) {
    if (thread == 0) early += memory[3] == 4;
    block_barrier("__syncthreads", false);
    wait_for_launch_ahead();
    late += memory[0] == 1 && memory[3] == 4;
  };
  run({call, &body, 3, 64, 1024, 0, 1, 1, &ahead});
  BOOST_TEST(early == 0);
  BOOST_TEST(late == 3 * 64);
  const Body never = [](uint32_t) {};
  run({call, &never, 1, 64, 1024, 0, 1, 1, &ahead});
  BOOST_TEST(memory[3] == 4);
}

// A(i, k) = i + 1 where k is i, B(k, j) = 8 k + j: the product's row i is (i + 1) times B's.
BOOST_AUTO_TEST_CASE(products_follow_the_fragments) {
  bool right = true;
  launch([&](uint32_t thread) {
    const uint32_t g = thread % 32 / 4, t = thread % 4;
    const auto packed = [](float low, float high) {
      return uint32_t{bits16_of(low, false)} | uint32_t{bits16_of(high, false)} << 16;
    };
    const auto a_of = [](uint32_t i, uint32_t k) { return i == k ? static_cast<float>(i + 1) : 0.0f; };
    const auto b_of = [](uint32_t k, uint32_t j) { return static_cast<float>(8 * k + j); };
    uint32_t a[4];
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t row = g + i % 2 * 8, column = 2 * t + i / 2 * 8;
      a[i] = packed(a_of(row, column), a_of(row, column + 1));
    }
    float c[4] = {0.5f, 0.5f, 0.5f, 0.5f};
    mma_m16n8k16(c, a, packed(b_of(2 * t, g), b_of(2 * t + 1, g)), packed(b_of(2 * t + 8, g), b_of(2 * t + 9, g)),
                 false);
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t row = g + i / 2 * 8, column = 2 * t + i % 2;
      right &= c[i] == 0.5f + static_cast<float>(row + 1) * b_of(row, column);
    }
  });
  BOOST_TEST(right);
}

BOOST_AUTO_TEST_CASE(matrices_are_loaded_by_rows_and_transposed) {
  bool plain = true, transposed = true;
  launch([&](uint32_t thread) {
    const uint32_t lane = thread % 32;
    for (uint32_t column = 0; thread < 32 && column < 8;
         ++column) {  // row `lane` of the four matrices, one below the other
      const auto element = static_cast<uint16_t>(lane * 8 + column);
      std::memcpy(shared_at("a test", address_of(lane * 16 + column * 2), 2), &element, 2);
    }
    block_barrier("__syncthreads", false);
    uint32_t rows[4], columns[4];
    load_matrix_x4(rows, address_of(lane * 16), false);
    load_matrix_x4(columns, address_of(lane * 16), true);
    for (uint32_t m = 0; m < 4; ++m) {
      const uint32_t first = m * 64 + lane / 4 * 8 + lane % 4 * 2, down = m * 64 + lane % 4 * 16 + lane / 4;
      plain &= rows[m] == (first | (first + 1) << 16);
      transposed &= columns[m] == (down | (down + 8) << 16);
    }
  });
  BOOST_TEST(plain);
  BOOST_TEST(transposed);
}
