// SPDX-License-Identifier: Apache-2.0

// Float32 output, pieces of keys, batch invariance, limits, and shards that merge to the whole.

package flashcore

import (
	"math"
	"testing"
)

func TestOutputsPiecesLimitsAndShards(t *testing.T) {
	const queries, keys, heads, headDim = 5, 120, 2, 16
	const row = heads * headDim
	c := open(t, Options{Device: CPU})
	query, key, value := random[Float16](queries*row, 1), random[Float16](keys*row, 2), random[Float16](keys*row, 3)
	run := func(first, end int, change func(a *Attention)) ([]float32, []float32) {
		output, lse := make([]float32, queries*row), make([]float32, queries*heads)
		a := Attention{
			Query:  Host(query, 1, queries, heads, headDim),
			Key:    Host(key[first*row:end*row], 1, end-first, heads, headDim),
			Value:  Host(value[first*row:end*row], 1, end-first, heads, headDim),
			Output: Host(output, 1, queries, heads, headDim),
			LSE:    Host(lse, 1, heads, queries, 1),
			Causal: CausalBottomRight,
		}
		change(&a)
		if err := c.Forward(&a, nil); err != nil {
			t.Fatal(err)
		}
		return output, lse
	}
	near := func(got, expected []float32, most float64) {
		t.Helper()
		for i := range got {
			if d := math.Abs(float64(got[i] - expected[i])); !(d <= most) {
				t.Fatalf("element %d: %v and %v", i, got[i], expected[i])
			}
		}
	}
	expected, expectedLSE := run(0, keys, func(*Attention) {})
	for _, change := range []func(a *Attention){
		func(a *Attention) { a.SplitCount = 3 }, func(a *Attention) { a.SplitTokens = 30 }, func(a *Attention) { a.BatchInvariant = true },
		func(a *Attention) { a.MultiprocessorLimit = 1 },
	} {
		output, _ := run(0, keys, change)
		near(output, expected, 2e-3)
	}
	var states, logarithms []float32
	for _, shard := range [][2]int{{70, keys}, {0, 30}, {30, 70}} {
		output, lse := run(shard[0], shard[1], func(a *Attention) { a.Positions = &Positions{keys - queries, int64(shard[0])} })
		states, logarithms = append(states, output...), append(logarithms, lse...)
	}
	merged, mergedLSE := make([]float32, queries*row), make([]float32, queries*heads)
	if err := c.MergeStates(&MergeStates{
		States:       3,
		OutputStates: Host(states, 3, queries, heads, headDim),
		LSEStates:    Host(logarithms, 3, heads, queries, 1),
		Output:       Host(merged, 1, queries, heads, headDim),
		LSE:          Host(mergedLSE, 1, heads, queries, 1),
	}, nil); err != nil {
		t.Fatal(err)
	}
	near(merged, expected, 2e-3)
	near(mergedLSE, expectedLSE, 1e-5)
}
