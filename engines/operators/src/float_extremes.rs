//! `max` and `min` of floats at the speed of memory. Arrow's kernels compare floats in total order,
//! value by value; here lanes are compared as processors do, and only a batch for which the two
//! orders could differ (it has a NaN, or its extreme is a zero, whose sign matters) is left to
//! Arrow. Groups, windows and other types are DataFusion's own.

use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};
use std::cmp::Ordering;
use std::fmt::Debug;
use std::sync::Arc;

/// Values compared side by side.
const LANES: usize = 16;

/// Puts these functions in the place of DataFusion's, under the same names, so that plans made
/// anywhere find them where they run.
pub(crate) fn register(builder: &mut SessionStateBuilder) {
    let functions = builder.aggregate_functions().get_or_insert_default();
    for (inner, end) in [(max_udaf(), End::Max), (min_udaf(), End::Min)] {
        let function = FloatExtreme { inner, end };
        functions.push(Arc::new(AggregateUDF::from(function)));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Max,
    Min,
}

/// `max` or `min`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatExtreme {
    inner: Arc<AggregateUDF>,
    end: End,
}

impl AggregateUDFImpl for FloatExtreme {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match args.return_field.data_type() {
            DataType::Float64 => Ok(Box::new(FloatAccumulator::<Float64Type>::new(self.end))),
            DataType::Float32 => Ok(Box::new(FloatAccumulator::<Float32Type>::new(self.end))),
            _ => self.inner.accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }
}

/// A primitive type whose values are floats.
trait FloatType: ArrowPrimitiveType<Native: PartialOrd + Default> + Debug {
    const LOWEST: Self::Native;
    const HIGHEST: Self::Native;

    fn total_cmp(a: Self::Native, b: Self::Native) -> Ordering;

    fn scalar(value: Option<Self::Native>) -> ScalarValue;
}

impl FloatType for Float64Type {
    const LOWEST: f64 = f64::NEG_INFINITY;
    const HIGHEST: f64 = f64::INFINITY;

    fn total_cmp(a: f64, b: f64) -> Ordering {
        a.total_cmp(&b)
    }

    fn scalar(value: Option<f64>) -> ScalarValue {
        ScalarValue::Float64(value)
    }
}

impl FloatType for Float32Type {
    const LOWEST: f32 = f32::NEG_INFINITY;
    const HIGHEST: f32 = f32::INFINITY;

    fn total_cmp(a: f32, b: f32) -> Ordering {
        a.total_cmp(&b)
    }

    fn scalar(value: Option<f32>) -> ScalarValue {
        ScalarValue::Float32(value)
    }
}

#[derive(Debug)]
struct FloatAccumulator<T: FloatType> {
    end: End,
    best: Option<T::Native>,
}

impl<T: FloatType> FloatAccumulator<T> {
    fn new(end: End) -> Self {
        Self { end, best: None }
    }

    fn of_batch(&self, values: &PrimitiveArray<T>) -> Option<T::Native> {
        let quick = match (values.null_count(), self.end) {
            (0, End::Max) => extreme(values.values(), T::LOWEST, |new, best| new > best),
            (0, End::Min) => extreme(values.values(), T::HIGHEST, |new, best| new < best),
            _ => None,
        };
        quick.or_else(|| match self.end {
            End::Max => compute::max(values),
            End::Min => compute::min(values),
        })
    }
}

impl<T: FloatType> Accumulator for FloatAccumulator<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(found) = self.of_batch(values[0].as_primitive::<T>()) else {
            return Ok(());
        };
        let wanted = match self.end {
            End::Max => Ordering::Greater,
            End::Min => Ordering::Less,
        };
        if self
            .best
            .is_none_or(|best| T::total_cmp(found, best) == wanted)
        {
            self.best = Some(found);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![T::scalar(self.best)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(T::scalar(self.best))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The extreme of values in which numeric and total order agree on it; `None` where they may not,
/// or where there is nothing.
fn extreme<V: Copy + PartialOrd + Default>(
    values: &[V],
    farthest: V,
    is_better: impl Fn(V, V) -> bool,
) -> Option<V> {
    let mut best = [farthest; LANES];
    let mut is_nan = [false; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let value = chunk[lane];
            best[lane] = if is_better(value, best[lane]) {
                value
            } else {
                best[lane]
            };
            is_nan[lane] |= value.partial_cmp(&value).is_none();
        }
    }
    let mut has_nan = is_nan.contains(&true);
    let mut all = farthest;
    for value in best.iter().chain(rest) {
        has_nan |= value.partial_cmp(value).is_none();
        all = if is_better(*value, all) { *value } else { all };
    }
    let is_clear = !values.is_empty() && !has_nan && all != V::default();
    is_clear.then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float32Array, Float64Array};
    use proptest::prelude::*;

    fn ours<T: FloatType>(end: End, batches: &[PrimitiveArray<T>]) -> ScalarValue {
        let mut accumulator = FloatAccumulator::<T>::new(end);
        for batch in batches {
            let values: ArrayRef = Arc::new(batch.clone());
            accumulator.update_batch(&[values]).unwrap();
        }
        accumulator.evaluate().unwrap()
    }

    /// Arrow's kernels over all values at once are what answers are held against.
    fn assert_same(values: &[Option<f64>], batch: usize) {
        let whole = Float64Array::from(values.to_vec());
        let batches: Vec<Float64Array> = values
            .chunks(batch)
            .map(|part| part.to_vec().into())
            .collect();
        let bits = |value: ScalarValue| match value {
            ScalarValue::Float64(value) => value.map(f64::to_bits),
            other => panic!("{other:?} is no double"),
        };
        assert_eq!(
            bits(ours(End::Max, &batches)),
            compute::max(&whole).map(f64::to_bits)
        );
        assert_eq!(
            bits(ours(End::Min, &batches)),
            compute::min(&whole).map(f64::to_bits)
        );
        let narrow = |value: &Option<f64>| value.map(|value| value as f32);
        let whole: Float32Array = values.iter().map(narrow).collect();
        let bits = |value: ScalarValue| match value {
            ScalarValue::Float32(value) => value.map(f32::to_bits),
            other => panic!("{other:?} is no float"),
        };
        assert_eq!(
            bits(ours(End::Max, std::slice::from_ref(&whole))),
            compute::max(&whole).map(f32::to_bits)
        );
        assert_eq!(
            bits(ours(End::Min, std::slice::from_ref(&whole))),
            compute::min(&whole).map(f32::to_bits)
        );
    }

    #[test]
    fn zeros_infinities_and_nans_are_ordered_as_everywhere_else() {
        let odd = [
            0.0,
            -0.0,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            -1.0,
        ];
        for first in odd {
            for second in odd {
                let mut values = vec![Some(first); 40];
                values[17] = Some(second);
                assert_same(&values, 40);
                values[3] = None;
                assert_same(&values, 9);
            }
        }
        assert_same(&[], 1);
        assert_same(&[None, None], 1);
    }

    proptest! {
        #[test]
        fn extremes_are_arrows(
            values in prop::collection::vec(prop::option::weighted(0.9, prop::num::f64::ANY), 0..200),
            batch in 1_usize..70,
        ) {
            assert_same(&values, batch);
            let dense: Vec<Option<f64>> = values.iter().copied().filter(Option::is_some).collect();
            assert_same(&dense, batch);
        }
    }
}
