//! [`Column`]: a name and an array, made from what a cell has at hand.

use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, StringArray};
use arrow_schema::{Field, FieldRef};
use std::sync::Arc;

/// A named column of a table to be.
#[derive(Debug, Clone)]
pub struct Column {
    name: String,
    array: ArrayRef,
}

impl Column {
    /// A column of a `Vec` of numbers, booleans or strings, optional or not, or of an Arrow array.
    pub fn new(name: impl Into<String>, values: impl IntoColumn) -> Column {
        Column {
            name: name.into(),
            array: values.into_array(),
        }
    }

    /// Its field and its array; the field is nullable when a value is missing.
    pub(crate) fn into_parts(self) -> (FieldRef, ArrayRef) {
        let nullable = self.array.logical_null_count() > 0;
        let field = Field::new(self.name, self.array.data_type().clone(), nullable);
        (Arc::new(field), self.array)
    }
}

/// What a column can be made of.
pub trait IntoColumn {
    /// The values as an Arrow array.
    fn into_array(self) -> ArrayRef;
}

impl IntoColumn for ArrayRef {
    fn into_array(self) -> ArrayRef {
        self
    }
}

macro_rules! numbers {
    ($($native:ty => $arrow:ty),* $(,)?) => {$(
        impl IntoColumn for Vec<$native> {
            fn into_array(self) -> ArrayRef {
                Arc::new(PrimitiveArray::<$arrow>::from(self))
            }
        }

        impl IntoColumn for Vec<Option<$native>> {
            fn into_array(self) -> ArrayRef {
                Arc::new(PrimitiveArray::<$arrow>::from(self))
            }
        }

        impl<const N: usize> IntoColumn for [$native; N] {
            fn into_array(self) -> ArrayRef {
                self.to_vec().into_array()
            }
        }

        const _: () = {
            const fn same<T: ArrowPrimitiveType<Native = $native>>() {}
            same::<$arrow>();
        };
    )*};
}

numbers! {
    i8 => Int8Type,
    i16 => Int16Type,
    i32 => Int32Type,
    i64 => Int64Type,
    u8 => UInt8Type,
    u16 => UInt16Type,
    u32 => UInt32Type,
    u64 => UInt64Type,
    f32 => Float32Type,
    f64 => Float64Type,
}

macro_rules! others {
    ($($native:ty => $array:ty),* $(,)?) => {$(
        impl IntoColumn for Vec<$native> {
            fn into_array(self) -> ArrayRef {
                Arc::new(<$array>::from(self))
            }
        }
    )*};
}

others! {
    bool => BooleanArray,
    Option<bool> => BooleanArray,
    &str => StringArray,
    Option<&str> => StringArray,
    String => StringArray,
    Option<String> => StringArray,
}

impl<const N: usize> IntoColumn for [&str; N] {
    fn into_array(self) -> ArrayRef {
        self.to_vec().into_array()
    }
}
