// SPDX-License-Identifier: Apache-2.0

// What a call does ahead of attention: new rows are written to a cache, and queries and new keys are rotated. The numbers in the arrays are
// read on the device alone, by the library; shapes and types are looked at here.

package flashcore

// #include "shim.h"
import "C"

import "fmt"

// Append says what is done ahead of attention in the same call: rows that are written to Key and Value, and rotary embedding.
type Append struct {
	// [batch, seqlen_new, heads_kv, head_dim] and head_dim_v: both or neither. They go behind the rows in use of Sequences.SequsedKV, which
	// stays as it is, and are attended to; without it the last rows of Key and Value are the new ones. Rows for which there is no room are
	// left out.
	NewKey, NewValue Tensor
	// [1, positions, 1, rotary_dim / 2], contiguous: both or neither. New keys, as they are written, and queries, which stay as they are, are
	// rotated in their first rotary_dim dimensions. The first new key is at the position of the rows in use; with a mask, a window or chunks
	// the queries follow from there on, else they are all at that position.
	RotaryCos, RotarySin Tensor
	RotaryInterleaved    bool   // pairs are neighbours, not halves
	RotaryPositions      Tensor // optional: int32 or int64 [1, 1, 1, batch], where positions begin; needed without new rows
}

// fill comes after sizes and the arrays of sequences. Memory of Go is copied, as that of these is.
func (p *Append) fill(f *frame, c *Context, a *Attention) error {
	args := &f.call.args
	batch, _ := a.batches()
	if !p.NewKey.absent() || !p.NewValue.absent() {
		rows := p.NewKey.Shape[1]
		if !p.NewKey.absent() && rows < 1 {
			return invalidf("new_key.shape[1]", "1 or more", "%d", rows)
		}
		for _, one := range []struct {
			field   string
			tensor  *Tensor
			raw     *C.flashcore_tensor
			columns int
		}{
			{"new_key", &p.NewKey, &args.new_key, int(args.head_dim)},
			{"new_value", &p.NewValue, &args.new_value, int(args.head_dim_v)},
		} {
			shape := [4]int{batch, rows, int(args.heads_kv), one.columns}
			if err := fillCopied(f, c, one.field, one.tensor, one.raw, a.Query.dtype, shape); err != nil {
				return err
			}
		}
		args.seqlen_new = C.int64_t(rows)
	}
	if !p.RotaryCos.absent() || !p.RotarySin.absent() {
		if err := p.fillTables(f, c, a); err != nil {
			return err
		}
	}
	if p.RotaryInterleaved {
		args.flags |= C.FLASHCORE_FLAG_ROTARY_INTERLEAVED
	}
	if p.RotaryPositions.absent() {
		return nil
	}
	expected := DType(args.index_dtype)
	if expected == 0 {
		expected = p.RotaryPositions.dtype
		if expected != DTypeInt32 && expected != DTypeInt64 {
			return invalid("rotary_positions.dtype", expected.String(), "int32, int64")
		}
	}
	var raw C.flashcore_tensor
	if err := fillCopied(f, c, "rotary_positions", &p.RotaryPositions, &raw, expected, [4]int{1, 1, 1, batch}); err != nil {
		return err
	}
	args.index_dtype, args.rotary_positions = C.int32_t(expected), raw.data
	return nil
}

func (p *Append) fillTables(f *frame, c *Context, a *Attention) error {
	args := &f.call.args
	rows, columns := p.RotaryCos.Shape[1], p.RotaryCos.Shape[3]
	if most := int(args.head_dim) / 2; columns > most {
		return invalidf("rotary_cos.shape[3]", fmt.Sprintf("up to %d", most), "%d", columns)
	}
	for _, one := range []struct {
		field  string
		tensor *Tensor
		target *C.uint64_t
	}{
		{"rotary_cos", &p.RotaryCos, &args.rotary_cos},
		{"rotary_sin", &p.RotarySin, &args.rotary_sin},
	} {
		var raw C.flashcore_tensor
		if err := fillCopied(f, c, one.field, one.tensor, &raw, a.Query.dtype, [4]int{1, rows, 1, columns}); err != nil {
			return err
		}
		if raw.stride[3] != 0 && rows > 1 && int(raw.stride[1]) != columns {
			return invalidf(one.field+".stride[1]", fmt.Sprintf("%d, rows of a table follow one another", columns), "%d", raw.stride[1])
		}
		*one.target = raw.data
	}
	args.rotary_table_rows, args.rotary_dim = C.int64_t(rows), C.int32_t(2*columns)
	return nil
}
