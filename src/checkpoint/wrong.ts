// Recognizes files of other formats by their first bytes.

import { show } from '../errors.js';

/** First characters of a file, its format, and what to do. */
const formats: [begin: string, what: string][] = [
  [
    'PK\x03\x04',
    'a zip (a PyTorch file?). Convert a file of torch.save in Python: tools/torch_checkpoint.py from-torch, or safetensors.torch.save_file',
  ],
  ['\x80', 'a pickle (an old PyTorch file?). Load it in Python, and save it by safetensors.torch.save_file'],
  ['<', 'HTML or XML. It may be an error or a login page from a server'],
  ['version ', 'a Git LFS pointer. Fetch the file itself: git lfs pull'],
  ['{', 'JSON. A safetensors file has 8 bytes before its JSON; an index names the files to read'],
  ['[', 'JSON'],
  ['\x1f\x8b', 'gzip. Decompress it first'],
  ['(\xb5/\xfd', 'zstd. Decompress it first'],
  ['BZh', 'bzip2. Decompress it first'],
  ['\xfd7zXZ', 'xz. Decompress it first'],
  ['GGUF', 'GGUF (llama.cpp). Take the safetensors file that it was made from'],
  ['\x89HDF', 'HDF5 (a Keras .h5?). Convert it in Python'],
  ['\x93NUMPY', 'a NumPy array. Save it in Python by safetensors.numpy.save_file'],
];

const BYTE_ORDER_MARK = '\xef\xbb\xbf';

/** Returns the Error for a file with these first bytes. It names the format, or says `why` if that is unknown. */
export function wrongFile(first: Uint8Array, why: string): TypeError {
  const text = String.fromCharCode(...first.subarray(0, 8));
  const begin = (text.startsWith(BYTE_ORDER_MARK) ? text.slice(BYTE_ORDER_MARK.length) : text).trimStart();
  const format = formats.find(([each]) => begin.startsWith(each))?.[1];
  const isText = /^[ -~]+$/.test(begin);
  const like = format ?? (isText ? `text, ${show(begin)}. It may be an error from a server` : undefined);
  return new TypeError(`This is not a safetensors file: ${like === undefined ? why : `it begins like ${like}`}.`);
}
