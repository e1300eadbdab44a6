//! What the nodes that pass their input's rows on have in common: one input, its order, and no
//! expressions of their own.

use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

// What the macro names, so that its users need not import it.
pub(crate) use datafusion::common::tree_node::TreeNodeRecursion;
pub(crate) use datafusion::physical_expr::PhysicalExpr;
pub(crate) use datafusion::physical_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};

/// A plan, as nodes hold and give it.
pub(crate) type Plan = Arc<dyn ExecutionPlan>;

/// The child of a node that has one.
pub(crate) fn only_child(name: &str, mut children: Vec<Plan>) -> Result<Plan> {
    let given = children.len();
    match children.pop() {
        Some(child) if children.is_empty() => Ok(child),
        _ => Err(DataFusionError::Internal(format!(
            "replace the child of {name}: it has one child, {given} were given"
        ))),
    }
}

/// The methods of `ExecutionPlan` that such nodes share. The type has a field `input` and a method
/// `with_input(&self, input) -> Self`.
macro_rules! pass_through_methods {
    ($name:literal) => {
        fn name(&self) -> &str {
            $name
        }

        fn children(&self) -> Vec<&$crate::pass_through::Plan> {
            vec![&self.input]
        }

        fn maintains_input_order(&self) -> Vec<bool> {
            vec![true]
        }

        fn benefits_from_input_partitioning(&self) -> Vec<bool> {
            vec![false]
        }

        fn apply_expressions(
            &self,
            _: &mut dyn FnMut(
                &::std::sync::Arc<dyn $crate::pass_through::PhysicalExpr>,
            ) -> ::datafusion::error::Result<
                $crate::pass_through::TreeNodeRecursion,
            >,
        ) -> ::datafusion::error::Result<$crate::pass_through::TreeNodeRecursion> {
            Ok($crate::pass_through::TreeNodeRecursion::Continue)
        }

        fn replace_children(
            self: ::std::sync::Arc<Self>,
            children: Vec<$crate::pass_through::Plan>,
            _: $crate::pass_through::ReplaceChildrenOptions,
        ) -> ::datafusion::error::Result<$crate::pass_through::Plan> {
            let input = $crate::pass_through::only_child($name, children)?;
            Ok(::std::sync::Arc::new(self.with_input(input)))
        }

        fn with_new_children(
            self: ::std::sync::Arc<Self>,
            children: Vec<$crate::pass_through::Plan>,
        ) -> ::datafusion::error::Result<$crate::pass_through::Plan> {
            let options = $crate::pass_through::ReplaceChildrenOptions::new(
                $crate::pass_through::ChildrenPropertiesMode::Recompute,
            );
            self.replace_children(children, options)
        }
    };
}

pub(crate) use pass_through_methods;
