// SPDX-License-Identifier: Apache-2.0

// Sequences that follow one another, in a cache and in pages give what each of them alone gives.

package flashcore

import "testing"

type sequenceTest struct {
	t       *testing.T
	c       *Context
	queries []int
	keys    []int
	query   []Float16 // rows of all sequences, one behind the other
	kv      []Float16
}

const seqHeads, seqHeadsKV, seqHeadDim = 4, 2, 64
const seqRow, seqRowKV = seqHeads * seqHeadDim, seqHeadsKV * seqHeadDim

func bounds[T int32 | int64](lengths []int) []T {
	made := make([]T, 1, len(lengths)+1)
	for _, length := range lengths {
		made = append(made, made[len(made)-1]+T(length))
	}
	return made
}

func numbers[T int32 | int64](lengths []int) []T {
	made := make([]T, len(lengths))
	for i, length := range lengths {
		made[i] = T(length)
	}
	return made
}

// put is an array on the device.
func put[T Element](s *sequenceTest, data []T) *Buffer {
	s.t.Helper()
	return must[*Buffer](s.t)(Upload(s.c, data))
}

func indices[T int32 | int64](s *sequenceTest, data []T) Tensor {
	return put(s, data).Tensor(1, 1, 1, len(data))
}

// alone computes each sequence by itself, causal at the end of its keys; the rows one behind the other.
func (s *sequenceTest) alone() []Float16 {
	s.t.Helper()
	made, q, k := make([]Float16, 0, len(s.query)), 0, 0
	for b, rows := range s.queries {
		keys := s.keys[b]
		output := must[*Buffer](s.t)(Zeros[Float16](s.c, rows*seqRow))
		key := put(s, s.kv[k*seqRowKV:][:keys*seqRowKV]).Tensor(1, keys, seqHeadsKV, seqHeadDim)
		s.forward(&Attention{Query: put(s, s.query[q*seqRow:][:rows*seqRow]).Tensor(1, rows, seqHeads, seqHeadDim), Key: key, Value: key,
			Output: output.Tensor(1, rows, seqHeads, seqHeadDim), Causal: CausalBottomRight})
		made = append(made, must[[]Float16](s.t)(ReadAll[Float16](output))...)
		q, k = q+rows, k+keys
	}
	return made
}

func (s *sequenceTest) forward(a *Attention) {
	s.t.Helper()
	if err := s.c.Prepare(a); err != nil {
		s.t.Fatal(err)
	}
	if err := s.c.Forward(a, nil); err != nil {
		s.t.Fatal(err)
	}
}

func newSequences(t *testing.T, c *Context, queries, keys []int) *sequenceTest {
	rows, rowsKV := bounds[int64](queries)[len(queries)], bounds[int64](keys)[len(keys)]
	return &sequenceTest{t, c, queries, keys, random[Float16](int(rows)*seqRow, 1), random[Float16](int(rowsKV)*seqRowKV, 2)}
}

func TestSequencesThatFollowOneAnother(t *testing.T) {
	onEachDevice(t, func(t *testing.T, c *Context) {
		s := newSequences(t, c, []int{3, 0, 7, 1}, []int{20, 5, 7, 33})
		expected, rows := s.alone(), len(s.query)/seqRow
		for _, index := range []struct{ q, kv Tensor }{
			{indices(s, bounds[int32](s.queries)), indices(s, bounds[int32](s.keys))},
			{indices(s, bounds[int64](s.queries)), indices(s, bounds[int64](s.keys))},
		} {
			output, lse := must[*Buffer](t)(Zeros[Float16](c, len(s.query))), must[*Buffer](t)(Zeros[float32](c, rows*seqHeads))
			key := put(s, s.kv).Tensor(1, len(s.kv)/seqRowKV, seqHeadsKV, seqHeadDim)
			a := &Attention{Query: put(s, s.query).Tensor(1, rows, seqHeads, seqHeadDim), Key: key, Value: key,
				Output: output.Tensor(1, rows, seqHeads, seqHeadDim), LSE: lse.Tensor(1, seqHeads, rows, 1), Causal: CausalBottomRight,
				Sequences: &Sequences{CuSeqlensQ: index.q, CuSeqlensKV: index.kv, MaxSeqlenQ: 7}}
			s.forward(a)
			if d := largestDifference(must[[]Float16](t)(ReadAll[Float16](output)), expected); d > 2e-3 {
				t.Errorf("%g differs", d)
			}
			for i, one := range must[[]float32](t)(ReadAll[float32](lse)) {
				if one == 0 {
					t.Fatalf("lse[%d] was not written", i)
				}
			}
			a.Sequences.MaxSeqlenQ = rows + 1
			refused(t, c.Forward(a, nil), ErrInvalidArgument, "MaxSeqlenQ", "1 to 11")
			a.Sequences.CuSeqlensQ = Tensor{}
			refused(t, c.Forward(a, nil), ErrInvalidArgument, "cu_seqlens_kv.shape[3]", "2, as the other tensors say")
			a.Sequences.CuSeqlensQ = index.q
			a.Sequences.MaxSeqlenQ, a.Sequences.SequsedQ = 0, put(s, []float32{1, 2, 3, 4}).Tensor(1, 1, 1, 4)
			refused(t, c.Forward(a, nil), ErrInvalidArgument, "seqused_q.dtype", "float32", a.Sequences.CuSeqlensQ.DType().String())
			a.Sequences.SequsedQ = indices(s, []int32{1})
			if a.Sequences.CuSeqlensQ.DType() == DTypeInt32 {
				refused(t, c.Forward(a, nil), ErrInvalidArgument, "seqused_q.shape[3]", "4, as the other tensors say")
			}
		}
	})
}

func TestNoSequences(t *testing.T) {
	onEachDevice(t, func(t *testing.T, c *Context) {
		s := newSequences(t, c, nil, nil)
		none, key := indices(s, []int32{}), put(s, make([]Float16, 4*8*seqRowKV)).Tensor(4, 8, seqHeadsKV, seqHeadDim)
		query := put(s, []Float16{}).Tensor(0, 1, seqHeads, seqHeadDim)
		s.forward(&Attention{Query: query, Key: key, Value: key, Output: query,
			Sequences: &Sequences{SequsedKV: none, PageTable: put(s, []int32{}).Tensor(1, 0, 1, 3)}})
		s.forward(&Attention{Query: query, Key: key, Value: key, Output: query, Sequences: &Sequences{SequsedKV: none, KVBatchIndex: none}})
	})
}

func TestPagesAndCaches(t *testing.T) {
	const pageSize, pages = 8, 5
	onEachDevice(t, func(t *testing.T, c *Context) {
		s := newSequences(t, c, []int{2, 2, 2}, []int{20, 5, 33})
		expected := s.alone()
		// Sequence b has every third page from b on; entries that no key needs lead nowhere. In the cache it has entry 3 - b.
		paged, cached := make([]Float16, 3*pages*pageSize*seqRowKV), make([]Float16, 4*40*seqRowKV)
		table, first := make([]int32, 3*(pages+1)), 0
		for b, keys := range s.keys {
			for page := range table[b*(pages+1) : (b+1)*(pages+1)] {
				table[b*(pages+1)+page] = -1
				if page*pageSize < keys {
					table[b*(pages+1)+page] = int32(b + 3*page)
				}
			}
			for j := 0; j < keys; j++ {
				row := s.kv[(first+j)*seqRowKV:][:seqRowKV]
				copy(paged[((b+3*(j/pageSize))*pageSize+j%pageSize)*seqRowKV:], row)
				copy(cached[((3-b)*40+j)*seqRowKV:], row)
			}
			first += keys
		}
		check := func(key Tensor, sequences *Sequences, query, output Tensor, read func() []Float16) {
			t.Helper()
			s.forward(&Attention{Query: query, Key: key, Value: key, Output: output, Causal: CausalBottomRight, Sequences: sequences})
			if d := largestDifference(read(), expected); d > 2e-3 {
				t.Errorf("%g differs", d)
			}
		}
		query, output := put(s, s.query).Tensor(3, 2, seqHeads, seqHeadDim), must[*Buffer](t)(Zeros[Float16](c, len(s.query)))
		read := func() []Float16 { return must[[]Float16](t)(ReadAll[Float16](output)) }
		used := indices(s, numbers[int32](s.keys))
		tables := put(s, table).Tensor(1, 3, 1, pages)
		tables.Strides = [4]int{0, pages + 1, 0, 1}
		check(put(s, paged).Tensor(3*pages, pageSize, seqHeadsKV, seqHeadDim), &Sequences{SequsedKV: used, PageTable: tables, PageTableValue: tables},
			query, output.Tensor(3, 2, seqHeads, seqHeadDim), read)
		check(put(s, cached).Tensor(4, 40, seqHeadsKV, seqHeadDim),
			&Sequences{SequsedKV: used, KVBatchIndex: indices(s, []int32{3, 2, 1}), MaxSeqlenKV: 33}, query, output.Tensor(3, 2, seqHeads, seqHeadDim), read)
		if c.isCPU { // memory of Go, for all of it
			host := make([]Float16, len(s.query))
			tables = Host(table, 1, 3, 1, pages)
			tables.Strides = [4]int{0, pages + 1, 0, 1}
			check(Host(paged, 3*pages, pageSize, seqHeadsKV, seqHeadDim), &Sequences{SequsedKV: Host(numbers[int64](s.keys), 1, 1, 1, 3), PageTable: tables},
				Host(s.query, 3, 2, seqHeads, seqHeadDim), Host(host, 3, 2, seqHeads, seqHeadDim), func() []Float16 { return host })
		}
	})
}
