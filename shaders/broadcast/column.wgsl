// One value for each column.

import package::second::load_b_element;
import package::elementwise::params::params;

// The second operand for element `index` of this launch.
fn load_b(index: u32) -> f32 {
    return load_b_element((params.first + index) % params.columns);
}
