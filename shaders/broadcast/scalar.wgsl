// One value for all.

import package::second::load_b_element;

// The second operand for element `index` of this launch.
fn load_b(index: u32) -> f32 {
    return load_b_element(0u);
}
