// SPDX-License-Identifier: Apache-2.0
#include "warp.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "block_state.hpp"
#include "cpu/float_convert.hpp"
#include "matrix_product.hpp"

namespace emulator {
namespace {

using Lanes = void *const[warp_size];

template <typename OfLane>
OfLane &of(Lanes &lanes, size_t lane) {
  return *static_cast<OfLane *>(lanes[lane]);
}

const std::vector<float> float16_values = [] {
  std::vector<float> values(65536);
  for (uint32_t bits = 0; bits < 65536; ++bits) values[bits] = flashcore::float16_to_float(static_cast<uint16_t>(bits));
  return values;
}();

struct Pair {
  float low, high;
};
Pair pair_of(uint32_t packed, bool bfloat16) {
  return {float_of(static_cast<uint16_t>(packed), bfloat16), float_of(static_cast<uint16_t>(packed >> 16), bfloat16)};
}

// A lane gets a pair of elements of one row, or of two rows one below the other: these lanes are who reads it.
uint32_t readers_of_row(size_t row, bool transposed) { return transposed ? 0x11111111u << row / 2 : 0xfu << row * 4; }

// An accumulator's element is the same lane's when it is loaded and when it is stored.
uint32_t accumulator_address(const char *what, uint32_t tile_address, int32_t pitch) {
  warp_operation(what, nullptr, [](Lanes &) {});
  const uint32_t lane = place().thread.x % warp_size;
  return tile_address + (lane / 2 * static_cast<uint32_t>(pitch) + lane % 2 * 8) * 4;
}

}  // namespace

float float_of(uint16_t bits, bool bfloat16) {
  return bfloat16 ? std::bit_cast<float>(uint32_t{bits} << 16) : float16_values[bits];
}

uint16_t bits16_of(float value, bool bfloat16) {
  return bfloat16 ? flashcore::float_to_bfloat16(value) : flashcore::float_to_float16(value);
}

float flushed(float value) { return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value; }

void sync_warp() {
  warp_operation("__syncwarp", nullptr, [](Lanes &) { running_block().meet_warp(); });
}

uint32_t shuffle(uint32_t value, uint32_t source_lane) {
  struct OfLane {
    uint32_t value, source, result;
  } own{value, source_lane % warp_size, 0};
  warp_operation("a shuffle", &own, [](Lanes &lanes) {
    for (size_t l = 0; l < warp_size; ++l)
      of<OfLane>(lanes, l).result = of<OfLane>(lanes, of<OfLane>(lanes, l).source).value;
  });
  return own.result;
}

uint32_t ballot(bool value) {
  uint32_t own = value ? 1 : 0;
  warp_operation("a vote", &own, [](Lanes &lanes) {
    uint32_t votes = 0;
    for (size_t l = 0; l < warp_size; ++l) votes |= of<uint32_t>(lanes, l) << l;
    for (size_t l = 0; l < warp_size; ++l) of<uint32_t>(lanes, l) = votes;
  });
  return own;
}
bool any(bool value) { return ballot(value) != 0; }

void load_matrix_x4(uint32_t (&r)[4], uint32_t row_address, bool transposed) {
  struct OfLane {
    const unsigned char *row;
    uint32_t *r;
    uint32_t address;
    Site site;
  } own{shared_at("ldmatrix", row_address, 16), r, row_address, {"ldmatrix", __builtin_return_address(0)}};
  static const auto note_reads = [](Lanes &lanes, bool is_transposed) {
    Block &block = running_block();
    for (size_t l = 0; l < warp_size; ++l) {
      const OfLane &lane = of<OfLane>(lanes, l);
      block.races().by_lanes(block.warp(), readers_of_row(l % 8, is_transposed), Access::read,
                             {offset_of(lane.address), offset_of(lane.address) + 16}, lane.site);
    }
  };
  const auto element = [](Lanes &lanes, size_t matrix, size_t row, size_t column) {
    uint16_t bits;
    std::memcpy(&bits, of<OfLane>(lanes, matrix * 8 + row).row + column * 2, 2);
    return uint32_t{bits};
  };
  static const auto at = element;
  if (transposed)
    warp_operation("ldmatrix.trans", &own, [](Lanes &lanes) {
      note_reads(lanes, true);
      for (size_t l = 0; l < warp_size; ++l)
        for (size_t m = 0; m < 4; ++m)
          of<OfLane>(lanes, l).r[m] = at(lanes, m, l % 4 * 2, l / 4) | at(lanes, m, l % 4 * 2 + 1, l / 4) << 16;
    });
  else
    warp_operation("ldmatrix", &own, [](Lanes &lanes) {
      note_reads(lanes, false);
      for (size_t l = 0; l < warp_size; ++l)
        for (size_t m = 0; m < 4; ++m)
          of<OfLane>(lanes, l).r[m] = at(lanes, m, l / 4, l % 4 * 2) | at(lanes, m, l / 4, l % 4 * 2 + 1) << 16;
    });
}

uint32_t transpose_8x8(uint32_t pair) {
  uint32_t own = pair;
  warp_operation("movmatrix", &own, [](Lanes &lanes) {
    uint32_t elements[8][8];
    for (size_t l = 0; l < warp_size; ++l) {
      elements[l / 4][l % 4 * 2] = of<uint32_t>(lanes, l) & 0xffff;
      elements[l / 4][l % 4 * 2 + 1] = of<uint32_t>(lanes, l) >> 16;
    }
    for (size_t l = 0; l < warp_size; ++l)
      of<uint32_t>(lanes, l) = elements[l % 4 * 2][l / 4] | elements[l % 4 * 2 + 1][l / 4] << 16;
  });
  return own;
}

void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bfloat16) {
  struct OfLane {
    float *c;
    const uint32_t *a;
    uint32_t b[2];
    bool bfloat16;
  } own{c, a, {b0, b1}, bfloat16};
  warp_operation(bfloat16 ? "mma.sync of bf16" : "mma.sync of f16", &own, [](Lanes &lanes) {
    float a[16][16], b[16][8], d[16][8];
    for (size_t l = 0; l < warp_size; ++l) {
      const OfLane &lane = of<OfLane>(lanes, l);
      const size_t g = l / 4, t = l % 4 * 2;
      for (size_t i = 0; i < 4; ++i) {
        const Pair pair = pair_of(lane.a[i], lane.bfloat16);
        a[g + i % 2 * 8][t + i / 2 * 8] = pair.low, a[g + i % 2 * 8][t + i / 2 * 8 + 1] = pair.high;
        d[g + i / 2 * 8][t + i % 2] = lane.c[i];
      }
      for (size_t i = 0; i < 2; ++i) {
        const Pair pair = pair_of(lane.b[i], lane.bfloat16);
        b[t + i * 8][g] = pair.low, b[t + i * 8 + 1][g] = pair.high;
      }
    }
    add_product(&d[0][0], &a[0][0], &b[0][0], 16, 8, 8);
    for (size_t l = 0; l < warp_size; ++l)
      for (size_t i = 0; i < 4; ++i) of<OfLane>(lanes, l).c[i] = d[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
  });
}

// All lanes count as readers of the whole tile, since nobody knows which has what.
void wmma_load(uint32_t *r, int32_t registers, uint32_t tile_address, int32_t pitch, Order order) {
  struct OfLane {
    uint32_t tile, pitch_bytes;
    Site site;
  } own{tile_address, static_cast<uint32_t>(pitch) * 2, {"wmma.load", __builtin_return_address(0)}};
  warp_operation("wmma.load", &own, [](Lanes &lanes) {
    const OfLane &first = of<OfLane>(lanes, 0);
    Block &block = running_block();
    for (uint32_t line = 0; line < 16; ++line) {
      const uint32_t begin = first.tile + line * first.pitch_bytes, last = begin + 30;
      for (const uint32_t element : {begin, last}) block.shared_at(first.site.what, element, 2);
      block.races().by_lanes(block.warp(), 0xffffffffu, Access::read, {offset_of(begin), offset_of(begin) + 32},
                             first.site);
    }
  });
  const uint32_t lane = place().thread.x % warp_size, row = lane / 2, first = lane % 2 * 8;
  const auto element = [&](uint32_t column) {
    const uint32_t p = static_cast<uint32_t>(pitch);
    const uint32_t index = order == Order::rows ? row * p + column : column * p + row;
    uint16_t bits;
    std::memcpy(&bits, shared_at("wmma.load", tile_address + index * 2, 2), 2);
    return uint32_t{bits};
  };
  for (uint32_t i = 0; i < 4; ++i) r[i] = element(first + 2 * i) | element(first + 2 * i + 1) << 16;
  for (int32_t i = 4; i < registers; ++i) r[i] = r[i - 4];
}

void wmma_load_floats(float (&r)[8], uint32_t tile_address, int32_t pitch) {
  const Site site = {"wmma.load.c", __builtin_return_address(0)};
  const uint32_t at = accumulator_address(site.what, tile_address, pitch);
  for (uint32_t i = 0; i < 8; ++i) running_block().load_shared(at + i * 4, &r[i], 4, site);
}

void wmma_store_floats(uint32_t tile_address, const float (&r)[8], int32_t pitch) {
  const Site site = {"wmma.store.d", __builtin_return_address(0)};
  const uint32_t at = accumulator_address(site.what, tile_address, pitch);
  for (uint32_t i = 0; i < 8; ++i) running_block().store_shared(at + i * 4, &r[i], 4, site);
}

void wmma_multiply(float (&c)[8], const uint32_t *a, const uint32_t *b, bool bfloat16) {
  struct OfLane {
    float *c;
    const uint32_t *a, *b;
    bool bfloat16;
  } own{c, a, b, bfloat16};
  warp_operation(bfloat16 ? "wmma.mma of bf16" : "wmma.mma of f16", &own, [](Lanes &lanes) {
    float a[16][16], b[16][16], d[16][16];
    for (size_t l = 0; l < warp_size; ++l) {
      const OfLane &lane = of<OfLane>(lanes, l);
      const size_t row = l / 2, first = l % 2 * 8;
      for (size_t i = 0; i < 4; ++i) {
        const Pair x = pair_of(lane.a[i], lane.bfloat16), y = pair_of(lane.b[i], lane.bfloat16);
        a[row][first + 2 * i] = x.low, a[row][first + 2 * i + 1] = x.high;
        b[row][first + 2 * i] = y.low, b[row][first + 2 * i + 1] = y.high;
      }
      std::memcpy(&d[row][first], lane.c, sizeof(float) * 8);
    }
    add_product(&d[0][0], &a[0][0], &b[0][0], 16, 16, 16);
    for (size_t l = 0; l < warp_size; ++l) std::memcpy(of<OfLane>(lanes, l).c, &d[l / 2][l % 2 * 8], sizeof(float) * 8);
  });
}

}  // namespace emulator
