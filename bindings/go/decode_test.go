// SPDX-License-Identifier: Apache-2.0

// Decoding with a growing key cache gives, token by token, the rows that one causal attention over the whole gives.

package flashcore

import "testing"

func checkDecode[T half](t *testing.T, c *Context, bound float64) {
	const batch, headsQ, headsKV, headDim = 2, 8, 2, 64
	const capacity, tokens = 80, 67 // positions that the cache has room for, and that are used
	const rowQ, rowKV = headsQ * headDim, headsKV * headDim
	query, key, value := random[T](batch*tokens*rowQ, 1), random[T](batch*tokens*rowKV, 2), random[T](batch*tokens*rowKV, 3)
	buffer, check := must[*Buffer](t), func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	row := func(data []T, row, sequence, position int) []T { return data[(sequence*tokens+position)*row:][:row] }
	stream := must[*Stream](t)(c.NewStream())

	all := buffer(Zeros[T](c, len(query)))
	check(c.Forward(&Attention{
		Query:  buffer(Upload(c, query)).Tensor(batch, tokens, headsQ, headDim),
		Key:    buffer(Upload(c, key)).Tensor(batch, tokens, headsKV, headDim),
		Value:  buffer(Upload(c, value)).Tensor(batch, tokens, headsKV, headDim),
		Output: all.Tensor(batch, tokens, headsQ, headDim),
		Causal: CausalBottomRight,
	}, stream))
	check(stream.Synchronize())
	expected := must[[]T](t)(ReadAll[T](all))

	keyCache, valueCache := buffer(Zeros[T](c, batch*capacity*rowKV)), buffer(Zeros[T](c, batch*capacity*rowKV))
	rows, output := buffer(Zeros[T](c, batch*rowQ)), buffer(Zeros[T](c, batch*rowQ))
	start, end := must[*Event](t)(c.NewEvent()), must[*Event](t)(c.NewEvent())
	check(start.Record(stream))
	for position := 0; position < tokens; position++ {
		for sequence := 0; sequence < batch; sequence++ {
			check(Write(rows, sequence*rowQ, row(query, rowQ, sequence, position)))
			check(Write(keyCache, (sequence*capacity+position)*rowKV, row(key, rowKV, sequence, position)))
			check(Write(valueCache, (sequence*capacity+position)*rowKV, row(value, rowKV, sequence, position)))
		}
		check(c.Forward(&Attention{
			Query:  rows.Tensor(batch, 1, headsQ, headDim),
			Key:    keyCache.Tensor(batch, capacity, headsKV, headDim).Positions(0, position+1),
			Value:  valueCache.Tensor(batch, capacity, headsKV, headDim).Positions(0, position+1),
			Output: output.Tensor(batch, 1, headsQ, headDim),
			Causal: CausalBottomRight,
		}, stream))
		check(stream.Synchronize())
		got := must[[]T](t)(ReadAll[T](output))
		for sequence := 0; sequence < batch; sequence++ {
			if d := largestDifference(got[sequence*rowQ:][:rowQ], row(expected, rowQ, sequence, position)); d > bound {
				t.Fatalf("sequence %d, token %d: %g differs", sequence, position, d)
			}
		}
	}
	check(end.Record(stream))
	check(end.Synchronize())
	if elapsed, err := end.Since(start); err != nil || elapsed <= 0 {
		t.Error(elapsed, err)
	}
}

func TestDecode(t *testing.T) {
	onEachDevice(t, func(t *testing.T, c *Context) {
		checkDecode[Float16](t, c, 2e-3)
		checkDecode[BFloat16](t, c, 1.6e-2)
	})
}
