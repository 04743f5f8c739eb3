// 0.5 v (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3))). The argument is clamped where tanh is 1 to f32,
// because drivers compute tanh through exp and overflow.

fn activate(v: f32) -> f32 {
    let near = clamp(v, -12.0, 12.0);
    let inner = 0.7978845608028654 * (near + 0.044715 * near * near * near);
    return 0.5 * v * (1.0 + tanh(clamp(inner, -12.0, 12.0)));
}
