// The state of a rule: STATE_SLOTS numbers for each parameter, side by side.

import package::variant::STATE_SLOTS;

@group(0) @binding(3) var<storage, read_write> state: array<f32>; // [count, STATE_SLOTS]

fn forget(index: u32) {
    for (var slot = 0u; slot < STATE_SLOTS; slot++) {
        state[index * STATE_SLOTS + slot] = 0.0;
    }
}
