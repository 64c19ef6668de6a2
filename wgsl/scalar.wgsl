alias Real = f32; alias Bits = u32; alias Ints = i32; alias Flags = bool;
