// A second opinion on every linked shader: Tint, the WGSL compiler of Chrome, through Dawn's Node
// binding. naga accepts some things a browser rejects, among them barriers in non-uniform control
// flow and more workgroup memory than the device has. Dawn's null backend validates without a driver.
//
//   node validate.mjs DIR          every *.wgsl under DIR; exits 1 on any error, or if there is none
//   node validate.mjs --self-test  shows that bad modules are rejected and good ones are not

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { create } from 'webgpu';

// Held to the end of the process: the binding does not keep its instance alive for the objects made
// from it, and once collected (after some hundred modules) the next call crashes.
globalThis.gpu = create(['backend=null']);

// What our variants may `enable`, and no more: anything experimental is then an error.
const FEATURES = ['shader-f16', 'subgroups'];

// Without `requiredLimits` a device has exactly WebGPU's defaults (256 invocations, 16 KiB of
// workgroup memory, 8 storage buffers), whatever its adapter could do: the portable limits.
async function openDevice() {
    const adapter = await gpu.requestAdapter();
    const missing = FEATURES.filter((feature) => !adapter.features.has(feature));
    if (missing.length > 0) {
        throw new Error(`Dawn's null adapter no longer offers ${missing.join(', ')}`);
    }
    return adapter.requestDevice({ requiredFeatures: FEATURES });
}

// Returns the messages for one module: [{ type, line, column, text }], line 0 for the whole module.
async function check(device, source) {
    // Error scopes keep Dawn from reporting the same errors to the console.
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code: source });
    const info = await module.getCompilationInfo();
    const messages = info.messages.map((message) => ({
        type: message.type,
        line: message.lineNum,
        column: message.linePos,
        text: message.message,
    }));
    const moduleError = await device.popErrorScope();
    if (moduleError && !messages.some(isError)) {
        messages.push(wholeModuleError(moduleError));
    }
    if (messages.some(isError)) {
        return messages;
    }

    // Limits are only checked when a pipeline is made.
    device.pushErrorScope('validation');
    device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
    const pipelineError = await device.popErrorScope();
    if (pipelineError) {
        messages.push(wholeModuleError(pipelineError));
    }
    return messages;
}

// Dawn appends which call it was in (" - While calling ..."), always the same here.
function wholeModuleError(error) {
    return { type: 'error', line: 0, column: 0, text: error.message.split('\n - While')[0] };
}

function isError(message) {
    return message.type === 'error';
}

function print(file, source, { type, line, column, text }) {
    const prefix = isError({ type }) ? '' : `${type}: `;
    if (line === 0) {
        console.log(`${file}: ${prefix}${text.trim()}`);
        return;
    }
    const offending = source.split('\n')[line - 1] ?? '';
    // Tabs stay tabs, so that the caret stands under its column.
    const indent = offending.slice(0, column - 1).replace(/[^\t]/g, ' ');
    console.log(`${file}:${line}:${column}: ${prefix}${text.trim()}\n    ${offending}\n    ${indent}^`);
}

function wgslFiles(folder) {
    return readdirSync(folder, { recursive: true })
        .filter((name) => name.endsWith('.wgsl'))
        .sort()
        .map((name) => join(folder, name));
}

async function validate(device, folder) {
    const files = wgslFiles(folder);
    let rejected = 0;
    for (const file of files) {
        const source = readFileSync(file, 'utf8');
        const messages = await check(device, source);
        messages.forEach((message) => print(file, source, message));
        rejected += messages.some(isError) ? 1 : 0;
    }
    if (files.length === 0) {
        console.log(`tint: no .wgsl file under ${folder}`);
    }
    console.log(`tint: ${files.length} modules, ${rejected} rejected`);
    return files.length > 0 && rejected === 0;
}

// Each module with what the message must say, or null where there must be none.
const SELF_TESTS = [
    {
        name: 'accepts subgroups',
        expected: null,
        source: `enable subgroups;
@group(0) @binding(0) var<storage, read_write> sums: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    sums[id.x] = subgroupAdd(sums[id.x]);
}`,
    },
    {
        name: 'accepts f16',
        expected: null,
        source: `enable f16;
@group(0) @binding(0) var<storage, read_write> values: array<f16>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    values[id.x] = values[id.x] * 2.0h;
}`,
    },
    {
        name: 'accepts the portable limits: 256 invocations, 16 KiB, 8 storage buffers',
        expected: null,
        source: limitsModule({ invocations: 256, sharedBytes: 16384, buffers: 8 }),
    },
    {
        name: 'rejects 257 invocations',
        expected: /exceeds the maximum/,
        source: limitsModule({ invocations: 257, sharedBytes: 16384, buffers: 8 }),
    },
    {
        name: 'rejects 16 KiB and 4 bytes of workgroup memory',
        expected: /workgroup (storage|memory)/i,
        source: limitsModule({ invocations: 256, sharedBytes: 16388, buffers: 8 }),
    },
    {
        name: 'rejects 9 storage buffers',
        expected: /storage buffers/i,
        source: limitsModule({ invocations: 256, sharedBytes: 16384, buffers: 9 }),
    },
    {
        name: 'rejects a barrier in non-uniform control flow',
        expected: /uniform control flow/,
        source: `@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= arrayLength(&values) { return; }
    workgroupBarrier();
    values[id.x] = 1.0;
}`,
    },
    {
        name: 'rejects a subgroup operation in non-uniform control flow',
        expected: /uniform control flow/,
        source: `enable subgroups;
@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= arrayLength(&values) { return; }
    values[id.x] = subgroupAdd(values[id.x]);
}`,
    },
    {
        name: 'rejects a type error',
        expected: /cannot assign|cannot convert|no matching|type/,
        source: '@compute @workgroup_size(1) fn main() { var x: u32 = 1.5; }',
    },
    {
        name: 'rejects a module without main',
        expected: /main/,
        source: '@compute @workgroup_size(1) fn other() { }',
    },
];

function limitsModule({ invocations, sharedBytes, buffers }) {
    const bindings = Array.from({ length: buffers }, (_, i) => i);
    const declare = (i) => `@group(0) @binding(${i}) var<storage, read_write> b${i}: array<u32>;`;
    return `${bindings.map(declare).join('\n')}
var<workgroup> shared_words: array<u32, ${sharedBytes / 4}>;
@compute @workgroup_size(${invocations}) fn main(@builtin(local_invocation_index) i: u32) {
    shared_words[i] = i;
    ${bindings.map((i) => `b${i}[0] = shared_words[i];`).join(' ')}
}`;
}

async function selfTest(device) {
    let failed = 0;
    for (const { name, expected, source } of SELF_TESTS) {
        const errors = (await check(device, source)).filter(isError);
        const right =
            expected === null ? errors.length === 0 : errors.some(({ text }) => expected.test(text));
        if (!right) {
            failed += 1;
            console.log(`tint self-test: ${name}: FAILED`);
            errors.forEach((message) => print(name, source, message));
        }
    }
    console.log(`tint self-test: ${SELF_TESTS.length} cases, ${failed} failed`);
    return failed === 0;
}

const [argument, ...rest] = process.argv.slice(2);
if (argument === undefined || rest.length > 0) {
    console.error('usage: node validate.mjs DIR | --self-test');
    process.exit(2);
}
if (argument !== '--self-test' && !existsSync(argument)) {
    console.error(`tint: no folder ${argument}`);
    process.exit(1);
}
const device = await openDevice();
console.log(`tint: features ${[...device.features].sort().join(', ')}`);
const passed = argument === '--self-test' ? await selfTest(device) : await validate(device, argument);
device.destroy();
process.exit(passed ? 0 : 1);
