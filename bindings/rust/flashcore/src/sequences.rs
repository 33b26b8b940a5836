// SPDX-License-Identifier: Apache-2.0
//
//! Ragged batches and paged keys: the arrays that say where the rows of each sequence are. The numbers in them are read on the
//! device alone, by the library; shapes and types are looked at here.

use flashcore_sys as sys;

use crate::attention::{check_shape, positive};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// An array of [`Sequences`], or of positions: of `i32` or of `i64`.
#[derive(Clone, Copy, Debug)]
pub enum Indices<'a> {
    /// 32-bit numbers.
    I32(Tensor<'a, i32>),
    /// 64-bit numbers.
    I64(Tensor<'a, i64>),
}

impl<'a> From<Tensor<'a, i32>> for Indices<'a> {
    fn from(tensor: Tensor<'a, i32>) -> Self {
        Indices::I32(tensor)
    }
}

impl<'a> From<Tensor<'a, i64>> for Indices<'a> {
    fn from(tensor: Tensor<'a, i64>) -> Self {
        Indices::I64(tensor)
    }
}

impl Indices<'_> {
    pub(crate) fn shape(&self) -> [usize; 4] {
        match self {
            Indices::I32(tensor) => tensor.shape(),
            Indices::I64(tensor) => tensor.shape(),
        }
    }

    pub(crate) fn fill(&self, raw: &mut sys::flashcore_tensor, field: &str, context: &Context) -> Result<()> {
        match self {
            Indices::I32(tensor) => tensor.fill(raw, field, context),
            Indices::I64(tensor) => tensor.fill(raw, field, context),
        }
    }
}

/// Lengths and places of the sequences of a batch, where these are their own: for [`crate::Attention::sequences`]. All arrays are of
/// one type, but for the page tables. What they say is held to the tensors; rows of the output that no sequence has are not written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequences<'a> {
    cu_seqlens_q: Option<Indices<'a>>,
    cu_seqlens_kv: Option<Indices<'a>>,
    seqused_q: Option<Indices<'a>>,
    seqused_kv: Option<Indices<'a>>,
    leftpad_kv: Option<Indices<'a>>,
    kv_batch_index: Option<Indices<'a>>,
    page_table: Option<Tensor<'a, i32>>,
    page_table_value: Option<Tensor<'a, i32>>,
    max_seqlen_q: Option<usize>,
    max_seqlen_kv: Option<usize>,
}

impl<'a> Sequences<'a> {
    /// Nothing said yet.
    pub fn new() -> Self {
        Sequences::default()
    }

    /// [1, 1, 1, batch + 1], rising: sequence b has the rows from bound b on, up to bound b + 1. Query and output are then [1, rows of
    /// all, heads_q, head_dim], the LSE is [1, heads_q, rows of all, 1].
    pub fn cu_seqlens_q(mut self, bounds: impl Into<Indices<'a>>) -> Self {
        self.cu_seqlens_q = Some(bounds.into());
        self
    }

    /// As [`Sequences::cu_seqlens_q`], of key and value.
    pub fn cu_seqlens_kv(mut self, bounds: impl Into<Indices<'a>>) -> Self {
        self.cu_seqlens_kv = Some(bounds.into());
        self
    }

    /// [1, 1, 1, batch]: rows of query and output in use, from the sequence's first on.
    pub fn seqused_q(mut self, lengths: impl Into<Indices<'a>>) -> Self {
        self.seqused_q = Some(lengths.into());
        self
    }

    /// [1, 1, 1, batch]: rows of key and value in use, from the sequence's first on.
    pub fn seqused_kv(mut self, lengths: impl Into<Indices<'a>>) -> Self {
        self.seqused_kv = Some(lengths.into());
        self
    }

    /// [1, 1, 1, batch]: of the rows in use, those at the beginning that are no keys.
    pub fn leftpad_kv(mut self, lengths: impl Into<Indices<'a>>) -> Self {
        self.leftpad_kv = Some(lengths.into());
        self
    }

    /// [1, 1, 1, batch]: entry of key and value, which may have more of them, for each sequence.
    pub fn kv_batch_index(mut self, entries: impl Into<Indices<'a>>) -> Self {
        self.kv_batch_index = Some(entries.into());
        self
    }

    /// [1, batch, 1, pages]: key and value are [page_count, page_size, heads_kv, head_dim], and key j of sequence b is key
    /// j % page_size of page `[b, j / page_size]`.
    pub fn page_table(mut self, pages: Tensor<'a, i32>) -> Self {
        self.page_table = Some(pages);
        self
    }

    /// Another table for value, of the shape and strides of [`Sequences::page_table`].
    pub fn page_table_value(mut self, pages: Tensor<'a, i32>) -> Self {
        self.page_table_value = Some(pages);
        self
    }

    /// The most rows of query that a sequence may have; rows past them are left out. Unless set, as many as query has.
    pub fn max_seqlen_q(mut self, rows: usize) -> Self {
        self.max_seqlen_q = Some(rows);
        self
    }

    /// The most rows of key that a sequence may have. Unless set, as many as there is room for.
    pub fn max_seqlen_kv(mut self, rows: usize) -> Self {
        self.max_seqlen_kv = Some(rows);
        self
    }

    /// The batch, and how many entries key and value have, from the first size of query and that of key.
    pub(crate) fn batches(&self, queries: usize, entries: usize) -> (usize, usize) {
        let batch = self.cu_seqlens_q.map_or(queries, |bounds| bounds.shape()[3].saturating_sub(1));
        match self {
            Sequences { cu_seqlens_kv: Some(_), .. } => (batch, 1),
            Sequences { kv_batch_index: Some(_), .. } | Sequences { page_table: Some(_), .. } => (batch, entries),
            _ => (batch, batch),
        }
    }

    pub(crate) fn fill(
        &self,
        args: &mut sys::flashcore_attention_args,
        context: &Context,
        query: [usize; 4],
        key: [usize; 4],
    ) -> Result<()> {
        let (batch, entries) = self.batches(query[0], key[0]);
        if self.cu_seqlens_q.is_some() {
            check_shape("query", query, [1, query[1], query[2], query[3]])?;
            args.total_q = query[1] as i64;
        }
        if self.cu_seqlens_kv.is_some() {
            args.total_kv = key[1] as i64;
        }
        if self.kv_batch_index.is_some() {
            args.kv_batch_count = entries as i64;
        }
        let arrays = [
            ("cu_seqlens_q", &self.cu_seqlens_q, batch + 1, &mut args.cu_seqlens_q),
            ("cu_seqlens_kv", &self.cu_seqlens_kv, batch + 1, &mut args.cu_seqlens_kv),
            ("seqused_q", &self.seqused_q, batch, &mut args.seqused_q),
            ("seqused_kv", &self.seqused_kv, batch, &mut args.seqused_kv),
            ("leftpad_kv", &self.leftpad_kv, batch, &mut args.leftpad_kv),
            ("kv_batch_index", &self.kv_batch_index, batch, &mut args.kv_batch_index),
        ];
        for (field, array, count, target) in arrays {
            if let Some(array) = array {
                let mut raw = sys::flashcore_tensor::default();
                check_shape(field, array.shape(), [1, 1, 1, count])?;
                array.fill(&mut raw, field, context)?;
                if args.index_dtype != 0 && args.index_dtype != raw.dtype {
                    let names = if raw.dtype == sys::FLASHCORE_DTYPE_INT64 { ("int64", "int32") } else { ("int32", "int64") };
                    return Err(Error::invalid(format!("{}.dtype", field), names.0, format!("{}, as the others", names.1)));
                }
                args.index_dtype = raw.dtype;
                *target = address_of(&raw, count);
            }
        }
        args.seqlen_q = most("max_seqlen_q", self.max_seqlen_q, query[1])?;
        if self.cu_seqlens_q.is_none() && args.seqlen_q != query[1] as i64 {
            return Err(Error::invalid("max_seqlen_q", args.seqlen_q, format!("{}, the rows of query", query[1])));
        }
        let room = self.fill_pages(args, context, batch, key)?;
        args.seqlen_kv = most("max_seqlen_kv", self.max_seqlen_kv, room)?;
        Ok(())
    }

    /// How many rows the pages of a sequence have, or key has.
    fn fill_pages(
        &self,
        args: &mut sys::flashcore_attention_args,
        context: &Context,
        batch: usize,
        key: [usize; 4],
    ) -> Result<usize> {
        let shape = self.page_table.map_or([0; 4], |table| [1, batch, 1, table.shape()[3]]);
        if let Some(table) = &self.page_table {
            (args.page_table, args.page_table_stride) = pages("page_table", table, shape, context)?;
            args.page_size = positive("page_size", key[1])?;
            args.page_count = key[0] as i64;
        }
        if let Some(table) = &self.page_table_value {
            let (address, stride) = pages("page_table_value", table, shape, context)?;
            if stride != args.page_table_stride {
                let allowed = format!("{}, that of page_table", args.page_table_stride);
                return Err(Error::invalid("page_table_value.stride[1]", stride, allowed));
            }
            args.page_table_value = address;
        }
        Ok(if self.page_table.is_none() { key[1] } else { key[1].saturating_mul(shape[3]).min(i32::MAX as usize) })
    }
}

/// The given number of rows, or what there is room for.
fn most(field: &str, given: Option<usize>, room: usize) -> Result<i64> {
    match given {
        Some(rows) if rows > room => Err(Error::invalid(field, rows, format!("up to {}", room))),
        _ => Ok(given.unwrap_or(room) as i64),
    }
}

/// Without elements an address like any other: 0 would mean that there is no array.
pub(crate) fn address_of(raw: &sys::flashcore_tensor, elements: usize) -> u64 {
    if elements == 0 {
        64
    } else {
        raw.data
    }
}

/// Address of a table, and the stride between its sequences.
fn pages(field: &str, table: &Tensor<'_, i32>, shape: [usize; 4], context: &Context) -> Result<(u64, i64)> {
    let mut raw = sys::flashcore_tensor::default();
    check_shape(field, table.shape(), shape)?;
    table.fill(&mut raw, field, context)?;
    let (packed, address) = (shape[3] as i64, address_of(&raw, shape[1].min(shape[3])));
    if raw.stride[3] == 0 || shape[1] < 2 {
        return Ok((address, packed));
    }
    if raw.stride[1] < packed {
        return Err(Error::invalid(
            format!("{}.stride[1]", field),
            raw.stride[1],
            format!("{} or more, sequences apart", packed),
        ));
    }
    Ok((address, raw.stride[1]))
}
