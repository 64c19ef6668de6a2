alias Real = vec4f; alias Bits = vec4u;
