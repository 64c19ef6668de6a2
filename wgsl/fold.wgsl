// Adds the parts of squares.wgsl, in a fixed order: first to a few parts per tensor, then to one. It is not an
// optimizer rule.

struct Range {
  // The first part of a tensor, and how many it has.
  first: u32,
  count: u32,
}

// By tensor. Each has the same number of sums.
@group(0) @binding(0) var<storage, read> ranges: array<Range>;
@group(0) @binding(1) var<storage, read> parts: array<Part>;
@group(0) @binding(2) var<storage, read_write> sums: array<Part>;
@group(1) @binding(0) var<storage, read> limits: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn fold(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&sums)) { return; }
  let step = arrayLength(&sums) / arrayLength(&ranges);
  let tensor = i / step;
  let range = ranges[tensor];
  let most = most_of(limits[tensor]);
  var largest = 0u;
  var sum = Sum(1, 0u, 0.0, 0.0, 0.0);
  for (var k = i % step; k < range.count; k += 4u * step) {
    let ks = k + vec4u(0, 1, 2, 3) * step;
    let is_part = ks < vec4u(range.count);
    let at = range.first + ks;
    let a = parts[at.x];
    let b = parts[at.y];
    let c = parts[at.z];
    let d = parts[at.w];
    let magnitudes = select(vec4u(), vec4u(a.largest, b.largest, c.largest, d.largest), is_part);
    let squares = select(vec4f(), vec4f(a.squares, b.squares, c.squares, d.squares), is_part);
    largest = max(largest, largest_of(magnitudes));
    raise(&sum, exponent_of(largest, most));
    add(&sum, dot(squares, squares_of_powers(exponents_of(magnitudes, most) - sum.exponent)));
  }
  sums[i] = Part(largest, total_of(sum));
}
