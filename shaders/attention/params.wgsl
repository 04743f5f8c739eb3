// Shape of an attention, where its operands lie, and which keys a query sees.

struct Params {
    batch: u32,
    heads: u32,
    kv_heads: u32,
    queries: u32,
    keys: u32,
    splits: u32,
    mask: u32, // 0 all keys, 1 causal over `keys`, 2 causal over the keys there are
    scale: f32,
    q_offset: u32,
    q_batch: u32,
    q_head: u32,
    q_token: u32,
    k_offset: u32,
    k_batch: u32,
    k_head: u32,
    k_token: u32,
    v_offset: u32,
    v_batch: u32,
    v_head: u32,
    v_token: u32,
    out_batch: u32,
    out_split: u32,
    out_head: u32,
    out_token: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

// How many keys, from the first one, a query sees of `length`.
fn visible_keys(query: u32, length: u32) -> u32 {
    let end = select(length, params.keys, params.mask == 1u);
    let reach = query + 1u + end;
    let causal = min(reach - min(reach, params.queries), length);
    return select(causal, length, params.mask == 0u);
}

fn q_start(sequence: u32, head: u32, token: u32) -> u32 {
    return params.q_offset + sequence * params.q_batch + head * params.q_head + token * params.q_token;
}

fn k_start(sequence: u32, head: u32, token: u32) -> u32 {
    return params.k_offset + sequence * params.k_batch + head * params.k_head + token * params.k_token;
}

fn v_start(sequence: u32, head: u32, token: u32) -> u32 {
    return params.v_offset + sequence * params.v_batch + head * params.v_head + token * params.v_token;
}

fn out_start(sequence: u32, split: u32, head: u32, token: u32) -> u32 {
    return sequence * params.out_batch + split * params.out_split + head * params.out_head + token * params.out_token;
}
