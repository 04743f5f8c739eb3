fn update_running(row: u32, mean: f32, squares: f32) {}
