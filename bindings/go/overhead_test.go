// SPDX-License-Identifier: Apache-2.0

// What this package costs beside the C call: a warm call on the CPU device. An empty batch makes the library check all
// arguments and compute nothing; one key is the smallest problem there is. "go test -bench ."; docs/BINDINGS.md holds figures.

package flashcore

import "testing"

func benchmark(b *testing.B, batch int, viaC bool) {
	c := open(b, Options{Device: CPU, CPUThreads: 1})
	tensor, output := Host(make([]Float16, 8), batch, 1, 1, 8), Host(make([]Float16, 8), batch, 1, 1, 8)
	a := Attention{Query: tensor, Key: tensor, Value: tensor, Output: output, Causal: CausalBottomRight}
	forward := func() error { return c.Forward(&a, nil) }
	if viaC { // arguments that are ready, so only what cgo and the library take
		f := new(frame)
		if err := a.fill(f, c, true); err != nil {
			b.Fatal(err)
		}
		forward = func() error { return f.forward(c, nil) }
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if err := forward(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEmptyBatch(b *testing.B)  { benchmark(b, 0, false) }
func BenchmarkEmptyBatchC(b *testing.B) { benchmark(b, 0, true) }
func BenchmarkOneKey(b *testing.B)      { benchmark(b, 1, false) }
func BenchmarkOneKeyC(b *testing.B)     { benchmark(b, 1, true) }
func BenchmarkUseAfterClose(b *testing.B) {
	c := open(b, Options{Device: CPU, CPUThreads: 1})
	c.Close()
	for i := 0; i < b.N; i++ {
		if c.Forward(nil, nil) == nil {
			b.Fatal("not refused")
		}
	}
}
