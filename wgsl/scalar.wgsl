alias Real = f32; alias Bits = u32;
