//! Which way products with pruned weights go: a plain table that a tuner fills, as an engine's choices of
//! variants are.

use std::collections::BTreeMap;

use crate::kernels::sparse::{Route, SparseMatmul};
use crate::num::SparseMatrix;
use crate::record::Recording;

use super::Weight;

/// Routes by kernel and class of shapes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    table: BTreeMap<(String, String), Route>,
}

impl Routes {
    /// Sets the route for a kernel's class of shapes.
    pub fn set(&mut self, kernel: &str, class: &str, route: Route) {
        let key = (kernel.to_owned(), class.to_owned());
        self.table.insert(key, route);
    }

    /// The route that was measured faster for the class of a product; as it is stored where none was.
    pub fn pick(&self, shape: SparseMatmul) -> Route {
        let Ok(launch) = shape.launch() else {
            return Route::default();
        };
        let key = (launch.kernel().to_owned(), launch.shape_class());
        self.table.get(&key).copied().unwrap_or_default()
    }
}

impl Weight {
    /// Uploads a pruned matrix the way that `routes` says is faster for products with `rows` rows of f32;
    /// [`Weight::describe`] says which that was.
    pub fn upload_pruned(
        recording: &mut Recording,
        matrix: &SparseMatrix,
        rows: u32,
        routes: &Routes,
    ) -> Self {
        let route = routes.pick(SparseMatmul::of(matrix, rows));
        Self::upload_sparse(recording, matrix, route)
    }
}
