// SPDX-License-Identifier: Apache-2.0

// New rows of a cache, and rotary embedding: as a call that finds all of it done.

package flashcore

import "testing"

const appBatch, appQueries, appNew, appRoom = 2, 3, 4, 24
const appRotary, appPositions = 32, 30

// rotateRows turns rows of heads in place by the tables' rows from first on.
func rotateRows(rows []Float16, heads, first int, cos, sin []Float16, interleaved bool) {
	for i := 0; i < len(rows); i += seqHeadDim {
		head, row := rows[i:i+seqHeadDim], i/seqHeadDim/heads
		for pair := 0; pair < appRotary/2; pair++ {
			a, b := pair, pair+appRotary/2
			if interleaved {
				a, b = 2*pair, 2*pair+1
			}
			angle := (first+row)*appRotary/2 + pair
			x, y, c, s := head[a].Float32(), head[b].Float32(), cos[angle].Float32(), sin[angle].Float32()
			head[a], head[b] = ToFloat16(x*c-y*s), ToFloat16(y*c+x*s)
		}
	}
}

func sameBits(t *testing.T, what string, found, expected []Float16) {
	t.Helper()
	for i := range expected {
		if found[i] != expected[i] {
			t.Fatalf("%s[%d] is %v, not %v", what, i, found[i].Float32(), expected[i].Float32())
		}
	}
}

func TestNewRows(t *testing.T) {
	onEachDevice(t, func(t *testing.T, c *Context) {
		for _, of := range []struct{ rotates, interleaved bool }{{false, false}, {true, false}, {true, true}} {
			s := &sequenceTest{t: t, c: c}
			used, length := []int32{5, 17}, []int32{5 + appNew, 17 + appNew}
			query := random[Float16](appBatch*appQueries*seqRow, 1)
			newKey, newValue := random[Float16](appBatch*appNew*seqRowKV, 2), random[Float16](appBatch*appNew*seqRowKV, 3)
			key, value := random[Float16](appBatch*appRoom*seqRowKV, 4), random[Float16](appBatch*appRoom*seqRowKV, 5)
			cos, sin := random[Float16](appPositions*appRotary/2, 6), random[Float16](appPositions*appRotary/2, 7)
			clone := func(of []Float16) []Float16 { return append([]Float16(nil), of...) }
			turned, keys, values := clone(query), clone(key), clone(value)
			for b, first := range used {
				at := (b*appRoom + int(first)) * seqRowKV
				copy(keys[at:], newKey[b*appNew*seqRowKV:(b+1)*appNew*seqRowKV])
				copy(values[at:], newValue[b*appNew*seqRowKV:(b+1)*appNew*seqRowKV])
				if of.rotates {
					rotateRows(keys[at:at+appNew*seqRowKV], seqHeadsKV, int(first), cos, sin, of.interleaved)
					rotateRows(turned[b*appQueries*seqRow:(b+1)*appQueries*seqRow], seqHeads, int(first), cos, sin, of.interleaved)
				}
			}
			shaped := func(b *Buffer, rows, heads int) Tensor { return b.Tensor(appBatch, rows, heads, seqHeadDim) }
			done := must[*Buffer](t)(Zeros[Float16](c, len(query)))
			s.forward(&Attention{Query: shaped(put(s, turned), appQueries, seqHeads), Key: shaped(put(s, keys), appRoom, seqHeadsKV),
				Value: shaped(put(s, values), appRoom, seqHeadsKV), Output: shaped(done, appQueries, seqHeads), Causal: CausalBottomRight,
				Sequences: &Sequences{SequsedKV: indices(s, length)}})
			expected := must[[]Float16](t)(ReadAll[Float16](done))

			keyBuffer, valueBuffer, output := put(s, key), put(s, value), must[*Buffer](t)(Zeros[Float16](c, len(query)))
			a := &Attention{Query: shaped(put(s, query), appQueries, seqHeads), Key: shaped(keyBuffer, appRoom, seqHeadsKV),
				Value: shaped(valueBuffer, appRoom, seqHeadsKV), Output: shaped(output, appQueries, seqHeads), Causal: CausalBottomRight,
				Sequences: &Sequences{SequsedKV: indices(s, used)},
				Append: &Append{NewKey: shaped(put(s, newKey), appNew, seqHeadsKV), NewValue: shaped(put(s, newValue), appNew, seqHeadsKV),
					RotaryInterleaved: of.interleaved}}
			if of.rotates {
				a.Append.RotaryCos = put(s, cos).Tensor(1, appPositions, 1, appRotary/2)
				a.Append.RotarySin = put(s, sin).Tensor(1, appPositions, 1, appRotary/2)
				a.Append.RotaryPositions = indices(s, used)
			}
			s.forward(a)
			if d := largestDifference(must[[]Float16](t)(ReadAll[Float16](output)), expected); d > 2e-3 {
				t.Errorf("%g differs", d)
			}
			sameBits(t, "key", must[[]Float16](t)(ReadAll[Float16](keyBuffer)), keys)
			sameBits(t, "value", must[[]Float16](t)(ReadAll[Float16](valueBuffer)), values)
			if !of.rotates {
				continue
			}
			good := *a.Append
			for _, bad := range []struct {
				spoil         func(p *Append)
				field, allows string
			}{
				{func(p *Append) { p.NewValue = Tensor{} }, "new_value.data", "a tensor of float16"},
				{func(p *Append) { p.NewKey.Shape[3] = 8 }, "new_key.shape[3]", "64"},
				{func(p *Append) { p.NewKey.Shape[1] = 0 }, "new_key.shape[1]", "1 or more"},
				{func(p *Append) { p.RotarySin = Tensor{} }, "rotary_sin.data", "a tensor of float16"},
				{func(p *Append) { p.RotaryCos.Shape[3] = 33 }, "rotary_cos.shape[3]", "up to 32"},
				{func(p *Append) { p.RotarySin.Shape[1]-- }, "rotary_sin.shape[1]", "30"},
				{func(p *Append) { p.RotaryPositions = indices(s, []int64{1, 2}) }, "rotary_positions.dtype", "int32"},
			} {
				spoiled := good
				bad.spoil(&spoiled)
				a.Append = &spoiled
				refused(t, c.Forward(a, nil), ErrInvalidArgument, bad.field, bad.allows)
			}
			if !c.isCPU {
				continue
			}
			// Memory of Go.
			hostKey, hostValue, hostOutput := clone(key), clone(value), make([]Float16, len(query))
			on := func(data []Float16, rows, heads int) Tensor { return Host(data, appBatch, rows, heads, seqHeadDim) }
			s.forward(&Attention{Query: on(query, appQueries, seqHeads), Key: on(hostKey, appRoom, seqHeadsKV), Value: on(hostValue, appRoom, seqHeadsKV),
				Output: on(hostOutput, appQueries, seqHeads), Causal: CausalBottomRight, Sequences: &Sequences{SequsedKV: Host(used, 1, 1, 1, appBatch)},
				Append: &Append{NewKey: on(newKey, appNew, seqHeadsKV), NewValue: on(newValue, appNew, seqHeadsKV), RotaryInterleaved: of.interleaved,
					RotaryCos: Host(cos, 1, appPositions, 1, appRotary/2), RotarySin: Host(sin, 1, appPositions, 1, appRotary/2)}})
			sameBits(t, "output", hostOutput, expected)
			sameBits(t, "key in memory of Go", hostKey, keys)
		}
	})
}
