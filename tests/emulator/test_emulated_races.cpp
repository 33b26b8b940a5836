// SPDX-License-Identifier: Apache-2.0
//
// Races, on kernels of a few lines: each is a fault under every seed, whatever order it draws, and the same kernel with what orders it is
// none.
#define BOOST_TEST_MODULE test_emulated_races
#include <boost/test/unit_test.hpp>
#include <functional>

#include "block.hpp"
#include "hopper.hpp"
#include "test_plain_word.hpp"
#include "warp.hpp"

extern "C" unsigned char shared[];

using namespace emulator;

namespace {

using Body = std::function<void(uint32_t thread)>;

void call(const void *body) { (*static_cast<const Body *>(body))(place().thread.x); }

constexpr uint32_t seeds = 12;
constexpr uint32_t first_barrier = 1024, second_barrier = 1032;

std::string fault_of(const Body &body, uint32_t seed, int32_t cluster = 1) {
  try {
    run({call, &body, 2 * cluster, 128, 2048, seed, cluster});
  } catch (const Fault &fault) {
    return fault.what();
  }
  return "";
}

// A race of these two instructions under every seed.
void check_race(const Body &body, const std::string &now, const std::string &before, int32_t cluster = 1) {
  for (uint32_t seed = 0; seed < seeds; ++seed) {
    const std::string fault = fault_of(body, seed, cluster);
    const auto named = [&](const std::string &one, const std::string &other) {
      return fault.find(": " + one + " ") != std::string::npos && fault.find("by " + other + " ") != std::string::npos;
    };
    BOOST_TEST((fault.find("a race at bytes ") != std::string::npos && (named(now, before) || named(before, now))),
               "seed " << seed << ": " << fault);
    if (seed == 0) BOOST_TEST_MESSAGE(fault);
  }
}

void check_none(const Body &body, int32_t cluster = 1) {
  for (uint32_t seed = 0; seed < seeds; ++seed) BOOST_TEST(fault_of(body, seed, cluster) == "", "seed " << seed);
}

uint32_t address_of(uint32_t offset) { return (1024 + offset) | static_cast<uint32_t>(cluster_rank()) << 24; }
void load(uint32_t offset) {
  uint32_t word;
  load_shared("ld.shared", address_of(offset), &word, 4);
}
void store(uint32_t offset, const char *what = "st.shared") { store_shared(what, address_of(offset), &offset, 4); }

void prepare_barriers(int32_t arrivals) {
  if (place().thread.x == 0) {
    shared_barrier_init(address_of(first_barrier), arrivals);
    shared_barrier_init(address_of(second_barrier), arrivals);
    shared_barrier_fence();
  }
  block_barrier("__syncthreads", false);
}

}  // namespace

// Lanes exchange words: what they do together orders memory only where it is __syncwarp.
BOOST_AUTO_TEST_CASE(within_a_warp) {
  const auto body = [](void (*between)()) {
    return [between](uint32_t thread) {
      store(thread * 4);
      between();
      load((thread ^ 1) * 4);
    };
  };
  check_none(body(sync_warp));
  check_none(body([] { block_barrier("__syncthreads", false); }));
  check_race(body([] {}), "ld.shared", "st.shared");
  check_race(body([] { shuffle(0, 0); }), "ld.shared", "st.shared");
  check_race(body([] { any(false); }), "ld.shared", "st.shared");
  check_none([](uint32_t thread) { store(thread * 4), load(thread * 4), store(thread * 4); });
}

BOOST_AUTO_TEST_CASE(between_warps) {
  const auto body = [](bool second_barrier_too, void (*between)()) {
    return [=](uint32_t thread) {
      if (thread < 32) store(thread * 4);
      between();
      if (thread >= 32) load(thread % 32 * 4);
      if (second_barrier_too) block_barrier("__syncthreads", false);
      if (thread < 32) store(thread * 4, "st.shared again");
    };
  };
  const auto meet = [] { block_barrier("__syncthreads", false); };
  check_none(body(true, meet));
  check_race(body(true, sync_warp), "ld.shared", "st.shared");
  check_race(body(false, meet), "st.shared again", "ld.shared");
}

BOOST_AUTO_TEST_CASE(bytes_and_not_words) {
  check_none([](uint32_t thread) {
    const uint16_t half = 0;
    store_shared("st.shared.u16", address_of(thread * 2), &half, 2);
  });
  check_race(
      [](uint32_t thread) {
        const uint16_t half = 0;
        if (thread == 40) store_shared("st.shared.u16", address_of(18), &half, 2);
        if (thread == 4) load(16);
      },
      "st.shared.u16", "ld.shared");
}

BOOST_AUTO_TEST_CASE(atomics) {
  check_none([](uint32_t) { or_shared("red.shared", address_of(0), 1); });
  check_race(
      [](uint32_t thread) {
        if (thread == 70)
          load(0);
        else
          or_shared("red.shared", address_of(0), 1);
      },
      "ld.shared", "red.shared");
}

// One half of the block produces, the other consumes.
BOOST_AUTO_TEST_CASE(named_barriers) {
  const auto body = [](int32_t of_producer, int32_t of_consumer) {
    return [=](uint32_t thread) {
      if (thread < 64) {
        store(thread * 4);
        arrive_at_barrier("bar.arrive", of_producer, 128);
        arrive_at_barrier("bar.arrive", 3 - of_producer, 128);
      } else {
        barrier("bar.sync", of_consumer, 128, false);
        load(thread % 64 * 4);
        barrier("bar.sync", 3 - of_consumer, 128, false);
      }
    };
  };
  check_none(body(1, 1));
  check_none(body(2, 1));  // all has been stored ahead of either
  // What is stored behind the arrival is not ordered, nor what another group meets at.
  check_race(
      [](uint32_t thread) {
        if (thread < 64) {
          arrive_at_barrier("bar.arrive", 1, 128);
          store(thread * 4);
        } else {
          barrier("bar.sync", 1, 128, false);
          load(thread % 64 * 4);
        }
      },
      "ld.shared", "st.shared");
  check_race(
      [](uint32_t thread) {
        store(thread * 4);
        barrier("bar.sync", thread < 64 ? 1 : 2, 64, false);
        load((thread ^ 64) * 4);
      },
      "ld.shared", "st.shared");
}

// A thread writes a stage, the others read it and give it back; then it is written again.
BOOST_AUTO_TEST_CASE(barriers_in_shared_memory) {
  enum Mistake { none, no_wait_for_full, no_wait_for_empty, released_too_early };
  const auto body = [](Mistake mistake) {
    return [mistake](uint32_t thread) {
      const uint32_t full = address_of(first_barrier), empty = address_of(second_barrier);
      prepare_barriers(32);
      if (thread < 32) {
        store(thread * 4);
        shared_barrier_arrive(full, 0);
        if (mistake != no_wait_for_empty) shared_barrier_wait(empty, 0);
        store(thread * 4, "st.shared again");
      } else if (thread < 64) {
        if (mistake == released_too_early) shared_barrier_arrive(empty, 0);
        if (mistake != no_wait_for_full) shared_barrier_wait(full, 0);
        load((63 - thread) * 4);
        if (mistake != released_too_early) shared_barrier_arrive(empty, 0);
      }
    };
  };
  check_none(body(none));
  check_race(body(no_wait_for_full), "ld.shared", "st.shared");
  check_race(body(no_wait_for_empty), "st.shared again", "ld.shared");
  check_race(body(released_too_early), "st.shared again", "ld.shared");
  check_race(
      [](uint32_t thread) {
        if (thread == 0) shared_barrier_init(address_of(first_barrier), 64), shared_barrier_fence();
        if (thread < 32) sync_warp();
        if (thread == 33) load(first_barrier);
      },
      "ld.shared", "mbarrier.init");
}

// Each thread of the first half copies 16 bytes, and all read.
BOOST_AUTO_TEST_CASE(copies_in_the_background) {
  enum Mistake { none, no_wait, no_barrier, no_barrier_before };
  const auto body = [](Mistake mistake) {
    return [mistake](uint32_t thread) {
      alignas(16) static const unsigned char source[16] = {};
      const uint32_t own = thread % 64 * 16;
      if (thread >= 64) load(own);
      if (mistake != no_barrier_before) block_barrier("__syncthreads", false);
      if (thread < 64) {
        copy_in_background(address_of(own), source, 16);
        end_copy_group();
        if (mistake != no_wait) wait_for_copies(0);
        load(own);
      }
      if (mistake != no_barrier) block_barrier("__syncthreads", false);
      load(own ^ 16);
    };
  };
  check_none(body(none));
  check_race(body(no_wait), "ld.shared", "cp.async");
  check_race(body(no_barrier), "ld.shared", "cp.async");
  check_race(body(no_barrier_before), "ld.shared", "cp.async");
}

BOOST_AUTO_TEST_CASE(matrices) {
  const auto body = [](bool ordered, bool transposed) {
    return [=](uint32_t thread) {
      if (thread >= 32) return;
      const unsigned char row[16] = {};
      store_shared("st.shared.v4", address_of(thread * 16), row, 16);
      if (ordered) sync_warp();
      uint32_t r[4];
      load_matrix_x4(r, address_of(thread * 16), transposed);
    };
  };
  for (const bool transposed : {false, true}) {
    check_none(body(true, transposed));
    check_race(body(false, transposed), "ldmatrix", "st.shared.v4");
  }
  const auto wmma = [](bool ordered) {
    return [=](uint32_t thread) {
      if (thread >= 32) return;
      const float sums[8] = {};
      uint32_t r[4];
      wmma_store_floats(address_of(0), sums, 16);
      if (ordered) sync_warp();
      wmma_load(r, 4, address_of(0), 16, Order::rows);
    };
  };
  check_none(wmma(true));
  check_race(wmma(false), "wmma.load", "wmma.store.d");
}

BOOST_AUTO_TEST_CASE(blocks_of_a_cluster) {
  const auto body = [](int32_t barriers) {
    return [=](uint32_t thread) {
      store(thread * 4);
      if (barriers > 0) cluster_barrier("barrier.cluster");
      float there;
      for (int32_t rank = 0; rank < cluster_size(); ++rank)
        load_cluster_shared("ld.shared::cluster", cluster_address("mapa", address_of(thread * 4), rank), &there, 4);
      if (barriers > 1) cluster_barrier("barrier.cluster");
      store(thread * 4, "st.shared again");
      cluster_barrier("barrier.cluster");
    };
  };
  check_none(body(2), 4);
  check_race(body(1), "st.shared again", "ld.shared::cluster", 4);
}

namespace {
boost::test_tools::assertion_result are_seen(boost::unit_test::test_unit_id) { return plain_accesses_are_seen; }
}  // namespace

// Named by the lines of both.
BOOST_AUTO_TEST_CASE(plain_accesses, *boost::unit_test::precondition(are_seen)) {
  const auto word = [](uint32_t i) { return reinterpret_cast<uint32_t *>(shared) + i; };
  const auto body = [&](bool ordered) {
    return [=](uint32_t thread) {
      write_plainly(word(thread));
      if (ordered) block_barrier("__syncthreads", false);
      read_plainly(word(thread ^ 64));
    };
  };
  check_none(body(true));
  check_race(body(false), "a plain read", "a plain write");
  const std::string fault = fault_of(body(false), 0), file = "/test_plain_word.cpp:";
  const bool reads = fault.find("a plain read reads") != std::string::npos;
  BOOST_TEST(
      fault.find(file + std::to_string(reads ? line_of_write : line_of_read) + "), and nothing") != std::string::npos,
      fault);
  BOOST_TEST(fault.ends_with(file + std::to_string(reads ? line_of_read : line_of_write)), fault);
  const std::string outside = fault_of([&](uint32_t) { write_plainly(word(2048 / 4)); }, 0);
  BOOST_TEST(outside.find("a plain write of bytes 2048 to 2051 of shared memory") != std::string::npos, outside);
}

BOOST_AUTO_TEST_CASE(global_memory, *boost::unit_test::precondition(are_seen)) {
  static uint32_t output[256];
  const auto check = [](const Body &body, const std::string &words) {
    for (uint32_t seed = 0; seed < seeds; ++seed) {
      const std::string fault = fault_of(body, seed);
      BOOST_TEST(fault.find("a race in global memory: a plain " + words + " where block ") != std::string::npos,
                 "seed " << seed << ": " << fault);
    }
  };
  const auto own = [](uint32_t thread) { return output + place().block.x * 128 + thread; };
  check_none([&](uint32_t thread) { write_plainly(own(thread)); });
  check([&](uint32_t thread) { write_plainly(output + thread); }, "write");
  check([&](uint32_t thread) { write_plainly(own(thread / 2)); }, "write");
  check(
      [&](uint32_t thread) {
        place().block.x == 0 ? write_plainly(output + thread) : void(read_plainly(output + thread));
      },
      "read");
  const auto twice = [&](bool ordered) {
    return [=](uint32_t thread) {
      if (thread == 0) write_plainly(own(0));
      if (ordered) block_barrier("__syncthreads", false);
      if (thread == 100) read_plainly(own(0)), write_plainly(own(0));
    };
  };
  check_none(twice(true));
  for (uint32_t seed = 0; seed < seeds; ++seed)
    BOOST_TEST(fault_of(twice(false), seed).find("a race in global memory") != std::string::npos, "seed " << seed);
}
