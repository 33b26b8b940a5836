// SPDX-License-Identifier: Apache-2.0
//
//! What a call does ahead of attention: new rows are written to a cache, and queries and new keys are rotated. The numbers in the arrays
//! are read on the device alone, by the library; shapes and types are looked at here.

use flashcore_sys as sys;

use crate::attention::{check_shape, Attention};
use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::sequences::{address_of, Indices};
use crate::tensor::{Tensor, TensorMut};

impl<'a, T: Element> Attention<'a, T> {
    /// As [`Attention::new`], on a cache that new rows are written to first: new key [batch, seqlen_new, heads_kv, head_dim] and new value
    /// [batch, seqlen_new, heads_kv, head_dim_v]. They go behind the rows in use of [`Sequences::seqused_kv`], which stays as it is, and
    /// are attended to; without it the last rows of key and value are the new ones. Rows for which there is no room are left out.
    pub fn appending(
        query: Tensor<'a, T>,
        key: TensorMut<'a, T>,
        value: TensorMut<'a, T>,
        new_key: Tensor<'a, T>,
        new_value: Tensor<'a, T>,
    ) -> Self {
        let mut made = Attention::new(query, key.tensor, value.tensor);
        made.append.new_rows = Some((new_key, new_value));
        made
    }

    /// Rotate queries and new keys by these cosines and sines, [1, positions, 1, rotary_dim / 2] and contiguous, in their first rotary_dim
    /// dimensions. The first new key is at the position of the rows in use; with a mask, a window or chunks the queries follow from
    /// there on, else they are all at that position. The query itself stays as it is.
    pub fn rotary(mut self, cos: Tensor<'a, T>, sin: Tensor<'a, T>) -> Self {
        self.append.tables = Some((cos, sin));
        self
    }

    /// Pairs of [`Attention::rotary`] are neighbours, not halves.
    pub fn rotary_interleaved(mut self) -> Self {
        self.append.interleaved = true;
        self
    }

    /// [1, 1, 1, batch]: where the positions of [`Attention::rotary`] begin; needed without new rows.
    pub fn rotary_positions(mut self, positions: impl Into<Indices<'a>>) -> Self {
        self.append.positions = Some(positions.into());
        self
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Append<'a, T: Element> {
    pub(crate) new_rows: Option<(Tensor<'a, T>, Tensor<'a, T>)>,
    pub(crate) tables: Option<(Tensor<'a, T>, Tensor<'a, T>)>,
    pub(crate) positions: Option<Indices<'a>>,
    pub(crate) interleaved: bool,
}

impl<T: Element> Append<'_, T> {
    pub(crate) const NOTHING: Self = Append { new_rows: None, tables: None, positions: None, interleaved: false };

    /// After sizes, types and the arrays of sequences.
    pub(crate) fn fill(&self, args: &mut sys::flashcore_attention_args, context: &Context, batch: usize) -> Result<()> {
        if let Some((key, value)) = &self.new_rows {
            let rows = key.shape()[1];
            if rows == 0 {
                return Err(Error::invalid("new_key.shape[1]", rows, "1 or more"));
            }
            check_shape("new_key", key.shape(), [batch, rows, args.heads_kv as usize, args.head_dim as usize])?;
            check_shape("new_value", value.shape(), [batch, rows, args.heads_kv as usize, args.head_dim_v as usize])?;
            key.fill(&mut args.new_key, "new_key", context)?;
            value.fill(&mut args.new_value, "new_value", context)?;
            args.seqlen_new = rows as i64;
        }
        if let Some((cos, sin)) = &self.tables {
            let [_, rows, _, columns] = cos.shape();
            if columns > args.head_dim as usize / 2 {
                return Err(Error::invalid("rotary_cos.shape[3]", columns, format!("up to {}", args.head_dim / 2)));
            }
            args.rotary_cos = table("rotary_cos", cos, [1, rows, 1, columns], context)?;
            args.rotary_sin = table("rotary_sin", sin, [1, rows, 1, columns], context)?;
            args.rotary_table_rows = rows as i64;
            args.rotary_dim = 2 * columns as i32;
        }
        if self.interleaved {
            args.flags |= sys::FLASHCORE_FLAG_ROTARY_INTERLEAVED;
        }
        if let Some(positions) = &self.positions {
            let mut raw = sys::flashcore_tensor::default();
            check_shape("rotary_positions", positions.shape(), [1, 1, 1, batch])?;
            positions.fill(&mut raw, "rotary_positions", context)?;
            if args.index_dtype != 0 && args.index_dtype != raw.dtype {
                return Err(Error::invalid("rotary_positions.dtype", raw.dtype, "that of the other arrays"));
            }
            args.index_dtype = raw.dtype;
            args.rotary_positions = address_of(&raw, batch);
        }
        Ok(())
    }
}

/// The address of a contiguous table.
fn table<T: Element>(field: &str, given: &Tensor<'_, T>, shape: [usize; 4], context: &Context) -> Result<u64> {
    let mut raw = sys::flashcore_tensor::default();
    check_shape(field, given.shape(), shape)?;
    given.fill(&mut raw, field, context)?;
    if raw.stride[3] != 0 && shape[1] > 1 && raw.stride[1] != shape[3] as i64 {
        let allowed = format!("{}, rows of a table follow one another", shape[3]);
        return Err(Error::invalid(format!("{}.stride[1]", field), raw.stride[1], allowed));
    }
    Ok(raw.data)
}
