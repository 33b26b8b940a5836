// SPDX-License-Identifier: Apache-2.0

// Conversions of 16-bit numbers, against a search for the nearest value that shares nothing with them.

package flashcore

import (
	"math"
	"math/rand"
	"sort"
	"testing"
)

func TestFloat16RoundsToTheNearestEvenValue(t *testing.T) {
	all := make([]float64, 0x7c01)
	for bits := range all {
		all[bits] = float64(Float16(bits).Float32())
	}
	all[0x7c00] = 65536 // what the exponent after the last would mean; rounding to it is overflow to infinity
	source := rand.New(rand.NewSource(1))
	for round := 0; round < 200000; round++ {
		fraction := uint32(source.Intn(1 << 23))
		if round%2 == 1 {
			fraction = fraction&^0x1fff | 0x1000 // half way between two values
		}
		value := math.Float32frombits(uint32(95+source.Intn(48))<<23 | fraction)
		next := sort.SearchFloat64s(all, float64(value))
		nearest := next
		if next > 0 {
			below, above := float64(value)-all[next-1], all[next]-float64(value)
			if below < above || below == above && next%2 == 1 {
				nearest = next - 1
			}
		}
		if got := ToFloat16(value); got != Float16(nearest) {
			t.Fatalf("%g became %#x, not %#x", value, got, nearest)
		}
		if got := ToFloat16(-value); got != Float16(nearest)|0x8000 {
			t.Fatalf("%g became %#x", -value, got)
		}
	}
}

func TestEvery16BitValueSurvivesTheWayThroughFloat32(t *testing.T) {
	for bits := 0; bits < 1<<16; bits++ {
		h, b := Float16(bits), BFloat16(bits)
		isNaN := bits&0x7fff > 0x7c00
		if again := ToFloat16(h.Float32()); again != h && !isNaN || isNaN != (again.Float32() != again.Float32()) {
			t.Fatalf("Float16(%#x) became %#x", bits, again)
		}
		isNaN = bits&0x7fff > 0x7f80
		if again := ToBFloat16(b.Float32()); again != b && !isNaN || isNaN != (again.Float32() != again.Float32()) {
			t.Fatalf("BFloat16(%#x) became %#x", bits, again)
		}
	}
}

func TestKnownValues(t *testing.T) {
	for value, bits := range map[float32]Float16{1: 0x3c00, -2: 0xc000, 65504: 0x7bff, 65520: 0x7c00, 0x1p-24: 1, 0x1p-25: 0} {
		if ToFloat16(value) != bits {
			t.Errorf("%g became %#x, not %#x", value, ToFloat16(value), bits)
		}
	}
	for bits, expected := range map[uint32]BFloat16{0x3fc00000: 0x3fc0, 0x3f808000: 0x3f80, 0x3f818000: 0x3f82, 0x7f7fffff: 0x7f80} {
		if got := ToBFloat16(math.Float32frombits(bits)); got != expected {
			t.Errorf("%#x became %#x, not %#x", bits, got, expected)
		}
	}
	shared := []uint16{0x3c00, 0}
	Float16s(shared)[1] = ToFloat16(2)
	if shared[1] != 0x4000 || BFloat16s(shared)[0] != 0x3c00 || Float16s(nil) != nil || BFloat16s(nil) != nil {
		t.Error("not the same memory")
	}
}
