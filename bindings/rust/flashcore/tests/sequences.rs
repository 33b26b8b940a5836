// SPDX-License-Identifier: Apache-2.0
//
//! Sequences that follow one another, in a cache and in pages give what each of them alone gives.

mod common;

use common::{largest_difference, random};
use flashcore::{Attention, Causal, Context, Device, Indices, Result, Sequences, Status, Tensor, TensorMut, F16};

const HEADS: usize = 4;
const HEADS_KV: usize = 2;
const HEAD_DIM: usize = 64;
const ROW: usize = HEADS * HEAD_DIM;
const ROW_KV: usize = HEADS_KV * HEAD_DIM;
const PAGE_SIZE: usize = 8;
const PAGES: usize = 5; // of a sequence, at most
const BOUND: f32 = 2e-3;

fn bounds(lengths: &[usize]) -> Vec<i64> {
    let mut sum = 0;
    std::iter::once(0).chain(lengths.iter().map(|&length| (sum += length as i64, sum).1)).collect()
}

/// Each sequence by itself, causal at the end of its keys; the rows one behind the other.
fn alone(context: &Context, queries: &[usize], keys: &[usize], query: &[F16], kv: &[F16]) -> Result<Vec<F16>> {
    let (mut made, mut q, mut k) = (Vec::new(), 0, 0);
    for (&rows, &count) in queries.iter().zip(keys) {
        let one = context.upload(&query[q * ROW..][..rows * ROW])?;
        let key = context.upload(&kv[k * ROW_KV..][..count * ROW_KV])?;
        let mut output = context.zeros::<F16>(rows * ROW)?;
        let (shape, tensor) = ([1, rows, HEADS, HEAD_DIM], key.tensor([1, count, HEADS_KV, HEAD_DIM]));
        Attention::new(one.tensor(shape), tensor, tensor).causal(Causal::BottomRight).run(context, output.tensor_mut(shape))?;
        made.extend(output.to_vec()?);
        q += rows;
        k += count;
    }
    Ok(made)
}

fn check_in_line(device: Device) -> Result<()> {
    let context = Context::open(device)?;
    let (queries, keys) = ([3, 0, 7, 1], [20, 5, 7, 33]);
    let (bounds_q, bounds_kv) = (bounds(&queries), bounds(&keys));
    let (rows, rows_kv) = (bounds_q[4] as usize, bounds_kv[4] as usize);
    let (query, kv) = (random::<F16>(rows * ROW, 1), random::<F16>(rows_kv * ROW_KV, 2));
    let expected = alone(&context, &queries, &keys, &query, &kv)?;
    let narrow = |numbers: &[i64]| numbers.iter().map(|&number| number as i32).collect::<Vec<i32>>();
    let (long_q, long_kv) = (context.upload(&bounds_q)?, context.upload(&bounds_kv)?);
    let (short_q, short_kv) = (context.upload(&narrow(&bounds_q))?, context.upload(&narrow(&bounds_kv))?);
    let (query, kv) = (context.upload(&query)?, context.upload(&kv)?);
    let shape = [1, rows, HEADS, HEAD_DIM];
    let key = kv.tensor([1, rows_kv, HEADS_KV, HEAD_DIM]);
    let of = [1, 1, 1, 5];
    for (by_q, by_kv) in [
        (Indices::from(long_q.tensor(of)), Indices::from(long_kv.tensor(of))),
        (Indices::from(short_q.tensor(of)), Indices::from(short_kv.tensor(of))),
    ] {
        let (mut output, mut lse) = (context.zeros::<F16>(rows * ROW)?, context.zeros::<f32>(rows * HEADS)?);
        let attention = Attention::new(query.tensor(shape), key, key)
            .causal(Causal::BottomRight)
            .lse(lse.tensor_mut([1, HEADS, rows, 1]))
            .sequences(Sequences::new().cu_seqlens_q(by_q).cu_seqlens_kv(by_kv).max_seqlen_q(7));
        attention.prepare(&context)?;
        attention.run(&context, output.tensor_mut(shape))?;
        assert!(largest_difference(&output.to_vec()?, &expected) <= BOUND);
        assert!(lse.to_vec()?.iter().all(|&one| one != 0.0));
    }
    let mut output = context.zeros::<F16>(rows * ROW)?;
    let mut refused = |sequences: Sequences<'_>, field: &str| {
        let error = Attention::new(query.tensor(shape), key, key)
            .sequences(sequences)
            .run(&context, output.tensor_mut(shape))
            .unwrap_err();
        assert_eq!((error.status(), error.field()), (Status::InvalidArgument, field), "{:?}", error);
    };
    let both = Sequences::new().cu_seqlens_q(long_q.tensor(of)).cu_seqlens_kv(long_kv.tensor(of));
    refused(both.max_seqlen_q(rows + 1), "max_seqlen_q");
    refused(both.seqused_q(short_q.tensor([1, 1, 1, 4])), "seqused_q.dtype");
    refused(both.seqused_q(long_q.tensor(of)), "seqused_q.shape[3]");
    refused(both.page_table_value(short_q.tensor([1, 4, 1, 1])), "page_table_value.shape[0]");
    Ok(())
}

fn check_nothing(device: Device) -> Result<()> {
    let context = Context::open(device)?;
    let (kv, none) = (context.zeros::<F16>(4 * PAGE_SIZE * ROW_KV)?, context.upload::<i32>(&[])?);
    let (query, mut output) = (context.zeros::<F16>(0)?, context.zeros::<F16>(0)?);
    let (key, shape) = (kv.tensor([4, PAGE_SIZE, HEADS_KV, HEAD_DIM]), [0, 1, HEADS, HEAD_DIM]);
    let lengths = none.tensor([1, 1, 1, 0]);
    for sequences in [
        Sequences::new().seqused_kv(lengths).page_table(none.tensor([1, 0, 1, 3])),
        Sequences::new().seqused_kv(lengths).kv_batch_index(lengths),
    ] {
        Attention::new(query.tensor(shape), key, key).sequences(sequences).run(&context, output.tensor_mut(shape))?;
    }
    Ok(())
}

fn check_places(device: Device) -> Result<()> {
    let context = Context::open(device)?;
    let (queries, keys) = ([2, 2, 2], [20, 5, 33]);
    let (query, kv) = (random::<F16>(6 * ROW, 1), random::<F16>(58 * ROW_KV, 2));
    let expected = alone(&context, &queries, &keys, &query, &kv)?;
    // Sequence b has every third page from b on; entries that no key needs lead nowhere. In the cache it has entry 3 - b.
    let mut paged = vec![F16::default(); 3 * PAGES * PAGE_SIZE * ROW_KV];
    let mut cached = vec![F16::default(); 4 * 40 * ROW_KV];
    let mut table = vec![-1i32; 3 * (PAGES + 1)];
    let mut rows = kv.chunks(ROW_KV);
    for (b, &count) in keys.iter().enumerate() {
        for j in 0..count {
            let row = rows.next().expect("a row of each key");
            let page = b + 3 * (j / PAGE_SIZE);
            table[b * (PAGES + 1) + j / PAGE_SIZE] = page as i32;
            paged[(page * PAGE_SIZE + j % PAGE_SIZE) * ROW_KV..][..ROW_KV].copy_from_slice(row);
            cached[((3 - b) * 40 + j) * ROW_KV..][..ROW_KV].copy_from_slice(row);
        }
    }
    let (used, index) = (keys.map(|count| count as i32), [3i32, 2, 1]);
    let (shape, of) = ([3, 2, HEADS, HEAD_DIM], [1, 1, 1, 3]);
    let strides = [0, PAGES + 1, 0, 1];
    let on_device = context.upload(&query)?;
    let (pages, cache) = (context.upload(&paged)?, context.upload(&cached)?);
    let (tables, lengths, entries) = (context.upload(&table)?, context.upload(&used)?, context.upload(&index)?);
    let by_page = tables.tensor([1, 3, 1, PAGES]).strides(strides);
    let in_pages = Sequences::new().seqused_kv(lengths.tensor(of)).page_table(by_page).page_table_value(by_page);
    let in_cache = Sequences::new().seqused_kv(lengths.tensor(of)).kv_batch_index(entries.tensor(of)).max_seqlen_kv(33);
    for (key, sequences) in [
        (pages.tensor([3 * PAGES, PAGE_SIZE, HEADS_KV, HEAD_DIM]), in_pages),
        (cache.tensor([4, 40, HEADS_KV, HEAD_DIM]), in_cache),
    ] {
        let mut output = context.zeros::<F16>(query.len())?;
        Attention::new(on_device.tensor(shape), key, key)
            .causal(Causal::BottomRight)
            .sequences(sequences)
            .run(&context, output.tensor_mut(shape))?;
        assert!(largest_difference(&output.to_vec()?, &expected) <= BOUND);
    }
    if device == Device::Cpu {
        let key = Tensor::host(&paged, [3 * PAGES, PAGE_SIZE, HEADS_KV, HEAD_DIM]);
        let mut output = vec![F16::default(); query.len()];
        let by_page = Tensor::host(&table, [1, 3, 1, PAGES]).strides(strides);
        Attention::new(Tensor::host(&query, shape), key, key)
            .causal(Causal::BottomRight)
            .sequences(Sequences::new().seqused_kv(Tensor::host(&used, of)).page_table(by_page))
            .run(&context, TensorMut::host(&mut output, shape))?;
        assert!(largest_difference(&output, &expected) <= BOUND);
    }
    Ok(())
}

#[test]
fn sequences_on_the_cpu() {
    check_in_line(Device::Cpu).unwrap();
    check_nothing(Device::Cpu).unwrap();
    check_places(Device::Cpu).unwrap();
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn sequences_on_the_gpu() {
    check_in_line(Device::Cuda(0)).unwrap();
    check_nothing(Device::Cuda(0)).unwrap();
    check_places(Device::Cuda(0)).unwrap();
}
