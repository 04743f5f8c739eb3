// Every element of a window, and every place of the padding, gets the same share of its gradient.

import package::pool2d::params::params;

fn share(gradient: f32, plane: u32, window: vec2<u32>, place: vec2<u32>) -> f32 {
    return gradient / f32(params.kernel_height * params.kernel_width);
}
