// Windows of one size, a stride apart; what lies in the padding is cut off.

import package::variant::{STRIDE_X, STRIDE_Y};
import package::pool2d::params::params;

// First place of a window inside x, and one past its last.
fn span(window: u32, stride: u32, kernel: u32, padding: u32, extent: u32) -> vec2<u32> {
    let first = window * stride;
    return vec2<u32>(max(first, padding), min(first + kernel, extent + padding)) - vec2<u32>(padding);
}

fn window_rows(window: u32) -> vec2<u32> {
    return span(window, STRIDE_Y, params.kernel_height, params.padding_y, params.height);
}

fn window_columns(window: u32) -> vec2<u32> {
    return span(window, STRIDE_X, params.kernel_width, params.padding_x, params.width);
}

// First window that a place lies in, and one past the last.
fn windows(place: u32, stride: u32, kernel: u32, count: u32) -> vec2<u32> {
    let first = select(0u, (place - kernel) / stride + 1u, place >= kernel);
    return vec2<u32>(first, min(place / stride + 1u, count));
}

fn row_windows(row: u32) -> vec2<u32> {
    return windows(row + params.padding_y, STRIDE_Y, params.kernel_height, params.out_height);
}

fn column_windows(column: u32) -> vec2<u32> {
    return windows(column + params.padding_x, STRIDE_X, params.kernel_width, params.out_width);
}
