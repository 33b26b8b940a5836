// SPDX-License-Identifier: Apache-2.0

// What this package costs beside the C call: warm calls. An empty batch makes the library check all arguments and compute
// nothing; one key is the smallest problem there is. The other half of each pair calls with arguments that are ready, so it holds
// only what cgo and the library take. "go test -bench ."; docs/BINDINGS.md holds figures.

package flashcore

import "testing"

func benchmark(b *testing.B, device DeviceKind, batch int) {
	c := open(b, Options{Device: device, CPUThreads: 1})
	input, output := must[*Buffer](b)(Zeros[Float16](c, 64)), must[*Buffer](b)(Zeros[Float16](c, 64))
	tensor := input.Tensor(batch, 1, 1, 64)
	a := Attention{Query: tensor, Key: tensor, Value: tensor, Output: output.Tensor(batch, 1, 1, 64), Causal: CausalBottomRight}
	ready := new(frame)
	if err := a.fill(ready, c, true); err != nil {
		b.Fatal(err)
	}
	if err := c.Forward(&a, nil); err != nil { // the first call may load a kernel
		b.Fatal(err)
	}
	for name, forward := range map[string]func() error{
		"package": func() error { return c.Forward(&a, nil) },
		"cgo":     func() error { return ready.forward(c, nil) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; i < b.N; i++ {
				if err := forward(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	if err := c.Synchronize(); err != nil {
		b.Error(err)
	}
}

func BenchmarkEmptyBatch(b *testing.B) { benchmark(b, CPU, 0) }
func BenchmarkOneKey(b *testing.B)     { benchmark(b, CPU, 1) }

func BenchmarkEmptyBatchGPU(b *testing.B) {
	needGPU(b)
	benchmark(b, CUDA, 0)
}

func BenchmarkOneKeyGPU(b *testing.B) {
	needGPU(b)
	benchmark(b, CUDA, 1)
}
