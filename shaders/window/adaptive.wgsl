// Windows that share x as evenly as whole places allow: from floor(i n / m) to ceil((i + 1) n / m).

import package::pool2d::params::params;

fn share_of(index: u32, extent: u32, count: u32) -> vec2<u32> {
    return vec2<u32>(index * extent / count, ((index + 1u) * extent + count - 1u) / count);
}

fn window_rows(window: u32) -> vec2<u32> {
    return share_of(window, params.height, params.out_height);
}

fn window_columns(window: u32) -> vec2<u32> {
    return share_of(window, params.width, params.out_width);
}

// The windows that a place lies in are its share of them.
fn row_windows(row: u32) -> vec2<u32> {
    return share_of(row, params.out_height, params.height);
}

fn column_windows(column: u32) -> vec2<u32> {
    return share_of(column, params.out_width, params.width);
}
