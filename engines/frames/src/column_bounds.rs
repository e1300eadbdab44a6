//! The least and the greatest value of a column of each batch, and its nulls: by these a scan leaves
//! batches out, in memory and on disk, before it looks at a row. What to leave out is the scan's to say.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, UInt64Array,
    downcast_primitive_array,
};
use arrow::compute::{max, min};
use arrow::datatypes::{ArrowNativeTypeOp, DataType, SchemaRef};
use arrow::util::display::array_value_to_string;
use bireme_protocol::proto::ColumnFacts;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use std::collections::HashSet;
use std::sync::Arc;

/// The least and the greatest value.
type Range = (ScalarValue, ScalarValue);

/// What is known of the values of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnBounds {
    /// The least and the greatest; none where they are not known, or all is null.
    range: Option<Range>,
    nulls: usize,
    /// Whether all values were looked at.
    is_seen: bool,
}

impl ColumnBounds {
    /// Of numbers, dates and times, whose bounds cost next to nothing.
    pub(crate) fn of(column: &ArrayRef) -> Self {
        Self {
            range: range(column.as_ref()),
            nulls: column.logical_null_count(),
            is_seen: true,
        }
    }

    /// Of a column in memory that this process need not touch otherwise.
    pub(crate) fn unseen(column: &ArrayRef) -> Self {
        Self {
            range: None,
            nulls: column.logical_null_count(),
            is_seen: false,
        }
    }

    /// Of a column without rows.
    pub(crate) fn none() -> Self {
        Self {
            range: None,
            nulls: 0,
            is_seen: true,
        }
    }

    /// Adds what is known of more rows of the column.
    pub(crate) fn add(&mut self, more: &Self) {
        self.nulls += more.nulls;
        self.is_seen &= more.is_seen;
        let Some((least, greatest)) = &more.range else {
            return;
        };
        let range = self
            .range
            .get_or_insert_with(|| (least.clone(), greatest.clone()));
        if *least < range.0 {
            range.0 = least.clone();
        }
        if *greatest > range.1 {
            range.1 = greatest.clone();
        }
    }

    /// As they go to the catalog.
    pub(crate) fn facts(&self) -> ColumnFacts {
        let range = self.range.as_ref().filter(|_| self.is_seen);
        let texts = range.and_then(|(least, greatest)| Some((text(least)?, text(greatest)?)));
        let (least, greatest) = texts.unwrap_or_default();
        ColumnFacts {
            least,
            greatest,
            nulls: self.nulls as u64,
        }
    }
}

/// A value that can be read back from its text. What is not a number has a sign that is not shown.
fn text(value: &ScalarValue) -> Option<String> {
    let text = array_value_to_string(&value.to_array().ok()?, 0).ok()?;
    (text != "NaN").then_some(text)
}

fn range(column: &dyn Array) -> Option<Range> {
    downcast_primitive_array!(
        column => range_of(column),
        _ => None
    )
}

fn range_of<T>(values: &PrimitiveArray<T>) -> Option<Range>
where
    T: ArrowPrimitiveType,
    T::Native: ArrowNativeTypeOp,
{
    // They are numbers too, but not in the order of their lengths.
    if matches!(values.data_type(), DataType::Interval(_)) {
        return None;
    }
    let scalar = |value| {
        let one = PrimitiveArray::<T>::from_value(value, 1);
        let one = one.with_data_type(values.data_type().clone());
        ScalarValue::try_from_array(&one, 0).ok()
    };
    let (least, greatest) = match values.null_count() {
        0 => ends(values.values())?,
        _ => (min(values)?, max(values)?),
    };
    Some((scalar(least)?, scalar(greatest)?))
}

/// The least and the greatest of values without nulls, in one pass. Arrow's own two compare several at
/// once, which the baseline x86-64 cannot do for 8 and 16 bytes: persisting took some 7 % longer.
fn ends<N: ArrowNativeTypeOp>(values: &[N]) -> Option<(N, N)> {
    let (first, rest) = values.split_first()?;
    let ends = rest
        .iter()
        .fold((*first, *first), |(least, greatest), value| {
            let least = if value.is_lt(least) { *value } else { least };
            let greatest = if value.is_gt(greatest) {
                *value
            } else {
                greatest
            };
            (least, greatest)
        });
    Some(ends)
}

/// What is known of the batches of a reader, each by its columns.
#[derive(Debug)]
pub struct BatchBounds<'a> {
    schema: &'a SchemaRef,
    rows: Vec<u64>,
    bounds: Vec<Vec<&'a ColumnBounds>>,
}

impl<'a> BatchBounds<'a> {
    pub(crate) fn new(
        schema: &'a SchemaRef,
        batches: impl Iterator<Item = (usize, Vec<&'a ColumnBounds>)>,
    ) -> Self {
        let (rows, bounds) = batches.map(|(rows, of_it)| (rows as u64, of_it)).unzip();
        Self {
            schema,
            rows,
            bounds,
        }
    }

    /// Of two columns with one name nothing is told.
    fn position(&self, column: &Column) -> Option<usize> {
        let fields = self.schema.fields().iter().enumerate();
        let mut named = fields.filter(|(_, field)| *field.name() == column.name);
        let (position, _) = named.next()?;
        named.next().is_none().then_some(position)
    }

    /// One value of each batch, null where none is known.
    fn ends(&self, column: &Column, end: impl Fn(&Range) -> &ScalarValue) -> Option<ArrayRef> {
        let index = self.position(column)?;
        let unknown = ScalarValue::try_from(self.schema.field(index).data_type()).ok()?;
        let of_batch = |bounds: &Vec<&ColumnBounds>| {
            let range = bounds.get(index)?.range.as_ref();
            Some(range.map_or_else(|| unknown.clone(), |range| end(range).clone()))
        };
        let ends: Option<Vec<ScalarValue>> = self.bounds.iter().map(of_batch).collect();
        ScalarValue::iter_to_array(ends?).ok()
    }
}

impl PruningStatistics for BatchBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.ends(column, |(least, _)| least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.ends(column, |(_, greatest)| greatest)
    }

    fn num_containers(&self) -> usize {
        self.rows.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let index = self.position(column)?;
        let of_batch = |bounds: &Vec<&ColumnBounds>| Some(bounds.get(index)?.nulls as u64);
        let nulls: Option<Vec<u64>> = self.bounds.iter().map(of_batch).collect();
        Some(Arc::new(UInt64Array::from(nulls?)))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from(self.rows.clone())))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
