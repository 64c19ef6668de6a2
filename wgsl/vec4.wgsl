alias Real = vec4f; alias Bits = vec4u; alias Ints = vec4i; alias Flags = vec4<bool>;
