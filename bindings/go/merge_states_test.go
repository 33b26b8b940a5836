// SPDX-License-Identifier: Apache-2.0

// Attention over shards of the keys, merged, is attention over all of them; and what is refused.

package flashcore

import (
	"math"
	"testing"
)

func checkShards[T half](t *testing.T, c *Context, bound float64) {
	const batch, queries, heads, headDim, keys = 2, 5, 3, 64, 50
	const rows = batch * queries * heads
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	upload := func(count int, seed int64) *Buffer { return must[*Buffer](t)(Upload(c, random[T](count, seed))) }
	query, key := upload(rows*headDim, 1), upload(batch*keys*heads*headDim, 2)
	value := upload(batch*keys*heads*headDim, 3)
	whole, wholeLSE := must[*Buffer](t)(Zeros[T](c, rows*headDim)), must[*Buffer](t)(Zeros[float32](c, rows))
	stream := must[*Stream](t)(c.NewStream())
	check(c.Forward(&Attention{
		Query:  query.Tensor(batch, queries, heads, headDim),
		Key:    key.Tensor(batch, keys, heads, headDim),
		Value:  value.Tensor(batch, keys, heads, headDim),
		Output: whole.Tensor(batch, queries, heads, headDim),
		LSE:    wholeLSE.Tensor(batch, heads, queries, 1),
	}, stream))

	bounds := []int{0, 11, 11, keys}
	states := len(bounds) - 1
	outputs := must[*Buffer](t)(Zeros[T](c, states*rows*headDim))
	logarithms := must[*Buffer](t)(Zeros[float32](c, states*rows))
	for i := 0; i < states; i++ {
		output, lse := outputs.Tensor(batch, queries, heads, headDim), logarithms.Tensor(batch, heads, queries, 1)
		output.Offset, lse.Offset = i*rows*headDim, i*rows
		check(c.Forward(&Attention{
			Query:  query.Tensor(batch, queries, heads, headDim),
			Key:    key.Tensor(batch, keys, heads, headDim).Positions(bounds[i], bounds[i+1]),
			Value:  value.Tensor(batch, keys, heads, headDim).Positions(bounds[i], bounds[i+1]),
			Output: output,
			LSE:    lse,
		}, stream))
	}
	merge := &MergeStates{
		States:       states,
		OutputStates: outputs.Tensor(states*batch, queries, heads, headDim),
		LSEStates:    logarithms.Tensor(states*batch, heads, queries, 1),
		Output:       outputs.Tensor(batch, queries, heads, headDim), // state 0
		LSE:          logarithms.Tensor(batch, heads, queries, 1),
	}
	check(c.PrepareMergeStates(merge))
	check(c.MergeStates(merge, stream))
	check(stream.Synchronize())
	merged, expected := must[[]T](t)(ReadAll[T](outputs)), must[[]T](t)(ReadAll[T](whole))
	if d := largestDifference(merged[:rows*headDim], expected); d > bound {
		t.Errorf("%g differs", d)
	}
	lse, expectedLSE := must[[]float32](t)(ReadAll[float32](logarithms)), must[[]float32](t)(ReadAll[float32](wholeLSE))
	for i := range expectedLSE {
		if math.Abs(float64(lse[i]-expectedLSE[i])) > 1e-4 {
			t.Fatalf("LSE %d is %g, not %g", i, lse[i], expectedLSE[i])
		}
	}
}

func TestMergeStates(t *testing.T) {
	onEachDevice(t, func(t *testing.T, c *Context) {
		checkShards[Float16](t, c, 4e-3)
		checkShards[BFloat16](t, c, 3.2e-2)
	})
}

func TestMergeStatesOfHostMemory(t *testing.T) {
	c := open(t, Options{Device: CPU})
	// Rows of 2 columns in memory of 3; two states of two batch entries.
	outputs := Host([]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 4, 1, 1, 2)
	outputs.Strides = [4]int{3, 3, 3, 1}
	output, lse := make([]float32, 4), make([]float32, 2)
	err := c.MergeStates(&MergeStates{
		States:       2,
		OutputStates: outputs,
		LSEStates:    Host([]float32{0, 1, 0, float32(math.Inf(-1))}, 4, 1, 1, 1),
		Output:       Host(output, 2, 1, 1, 2),
		LSE:          Host(lse, 2, 1, 1, 1),
		LSEBase2:     true,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, expected := range []float32{3, 4, 3, 4} {
		if output[i] != expected {
			t.Errorf("column %d is %g, not %g", i, output[i], expected)
		}
	}
	if lse[0] != 1 || lse[1] != 1 {
		t.Error(lse)
	}
}

func TestMergeStatesRefused(t *testing.T) {
	c := open(t, Options{Device: CPU})
	good := func() *MergeStates {
		return &MergeStates{
			States:       2,
			OutputStates: Host(make([]float32, 24), 6, 1, 1, 4),
			LSEStates:    Host(make([]float32, 6), 6, 1, 1, 1),
			Output:       Host(make([]float32, 12), 3, 1, 1, 4),
		}
	}
	if err := c.MergeStates(good(), nil); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		field  string
		change func(m *MergeStates)
	}{
		{"state_count", func(m *MergeStates) { m.States = 0 }},
		{"output_states.shape[0]", func(m *MergeStates) { m.States = 4 }},
		{"output_states.data", func(m *MergeStates) { m.OutputStates = Tensor{} }},
		{"output.data", func(m *MergeStates) { m.Output = Tensor{} }},
		{"output.shape[0]", func(m *MergeStates) { m.States = 1 }},
		{"lse_states.shape[0]", func(m *MergeStates) { m.LSEStates.Shape[0] = 5 }},
		{"lse_states.dtype", func(m *MergeStates) { m.LSEStates = Host(make([]Float16, 6), 6, 1, 1, 1) }},
		{"lse.shape[1]", func(m *MergeStates) { m.LSE = Host(make([]float32, 6), 3, 2, 1, 1) }},
	} {
		m := good()
		one.change(m)
		refused(t, c.MergeStates(m, nil), ErrInvalidArgument, one.field)
	}
}
