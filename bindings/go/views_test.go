// SPDX-License-Identifier: Apache-2.0

// Views with offsets and strides give what contiguous copies of the same elements give: on the CPU device bit by bit; a GPU may use
// another kernel for another alignment.

package flashcore

import (
	"math"
	"testing"
)

func TestViewsGiveWhatCopiesGive(t *testing.T) {
	const batch, rows, from, to, heads, headDim = 2, 9, 3, 8, 4, 64
	const row = heads * headDim
	onEachDevice(t, func(t *testing.T, c *Context) {
		buffer, kept := must[*Buffer](t), to-from
		bound, logBound := 0.0, 0.0
		if !c.isCPU {
			bound, logBound = 1.6e-2, 1e-4
		}
		whole, part := random[BFloat16](batch*rows*row, 1), []BFloat16(nil)
		for b := 0; b < batch; b++ {
			part = append(part, whole[(b*rows+from)*row:(b*rows+to)*row]...)
		}
		forward := func(a *Attention) {
			t.Helper()
			if err := c.Forward(a, nil); err != nil {
				t.Fatal(err)
			}
		}
		// Contiguous copies.
		tensor := buffer(Upload(c, part)).Tensor(batch, kept, heads, headDim)
		output, logs := buffer(Zeros[BFloat16](c, len(part))), buffer(Zeros[float32](c, batch*heads*kept))
		forward(&Attention{Query: tensor, Key: tensor, Value: tensor, Output: output.Tensor(batch, kept, heads, headDim),
			LSE: logs.Tensor(batch, heads, kept, 1), Causal: CausalTopLeft})
		expected, expectedLogs := must[[]BFloat16](t)(ReadAll[BFloat16](output)), must[[]float32](t)(ReadAll[float32](logs))
		// Views: rows of a larger memory as inputs; heads before positions, and a gap, in the outputs.
		view := buffer(Upload(c, whole)).Tensor(batch, rows, heads, headDim).Positions(from, to)
		wide := buffer(Zeros[BFloat16](c, 5+len(part)))
		turned := wide.Tensor(batch, kept, heads, headDim)
		turned.Offset, turned.Strides = 5, [4]int{kept * row, headDim, kept * headDim, 1}
		gaps := buffer(Zeros[float32](c, 3+batch*heads*(kept+2)))
		spaced := gaps.Tensor(batch, heads, kept, 1)
		spaced.Offset, spaced.Strides = 3, [4]int{heads * (kept + 2), kept + 2, 1, 1}
		forward(&Attention{Query: view, Key: view, Value: view, Output: turned, LSE: spaced, Causal: CausalTopLeft})
		got, gotLogs := must[[]BFloat16](t)(ReadAll[BFloat16](wide)), must[[]float32](t)(ReadAll[float32](gaps))
		for b := 0; b < batch; b++ {
			for h := 0; h < heads; h++ {
				for s := 0; s < kept; s++ {
					difference := gotLogs[3+(b*heads+h)*(kept+2)+s] - expectedLogs[(b*heads+h)*kept+s]
					if !(math.Abs(float64(difference)) <= logBound) {
						t.Fatalf("lse[%d][%d][%d] differs", b, h, s)
					}
					for d := 0; d < headDim; d++ {
						value, other := got[5+((b*heads+h)*kept+s)*headDim+d], expected[((b*kept+s)*heads+h)*headDim+d]
						if !(math.Abs(toFloat(value)-toFloat(other)) <= bound) {
							t.Fatalf("output[%d][%d][%d][%d] differs", b, s, h, d)
						}
					}
				}
			}
		}
		if !c.isCPU {
			return
		}
		// Views of host memory.
		host := make([]BFloat16, 5+len(part))
		turned = Host(host, batch, kept, heads, headDim)
		turned.Offset, turned.Strides = 5, [4]int{kept * row, headDim, kept * headDim, 1}
		view = Host(whole, batch, rows, heads, headDim).Positions(from, to)
		forward(&Attention{Query: view, Key: view, Value: view, Output: turned, Causal: CausalTopLeft})
		if largestDifference(host, got) != 0 {
			t.Error("host memory gives another result than a buffer")
		}
	})
}
