// Reads dist/types: the public names of every entry, their declarations, and their comments.

import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseSync } from 'rolldown/utils';

type Node = any;

/** A file of declarations. */
interface Module {
  readonly text: string;
  readonly comments: readonly { readonly value: string; readonly end: number }[];
  readonly exports: ReadonlyMap<string, Source>;
  /** Types of other files may be named without being exported: `import { type Create } ...`. */
  readonly imports: ReadonlyMap<string, Source>;
  readonly locals: ReadonlyMap<string, readonly Declaration[]>;
  /** The files of `export * from`. */
  readonly all: readonly string[];
}

/** A name in another file, or, without `file`, in the same one. */
interface Source {
  readonly file?: string;
  readonly name: string;
}

/** A declaration, and where its comment ends: before `start`. */
interface Declaration {
  readonly file: string;
  readonly node: Node;
  readonly start: number;
}

/** A public declaration, or a member of one. */
export interface Documented {
  /** The entry that has it: 'twinstep/schedules'. */
  readonly entry: string;
  /** 'adamw', or with the type that has it 'Optimizer.step'. */
  readonly name: string;
  readonly kind: 'function' | 'class' | 'getter' | 'other';
  /** The names of its parameters. Those of a rest parameter are the labels of its tuple, as editors show them. */
  readonly params: readonly string[];
  readonly isVoid: boolean;
  readonly doc: Doc;
}

/** A comment: its text, and its tags in order. */
export interface Doc {
  readonly text: string;
  readonly tags: readonly { readonly tag: string; readonly text: string }[];
}

const root = new URL('../../', import.meta.url);
const modules = new Map<string, Module>();

/** Returns all public declarations and their members, each once: in the first entry that exports it. */
export function publicDeclarations(): Documented[] {
  const pkg = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));
  const entries = Object.entries<any>(pkg.exports).filter(([, target]) => target.types !== undefined);
  const seen = new Set<Node>();
  return entries.flatMap(([path, { types }]) => {
    const file = fileURLToPath(new URL(types, root));
    const entry = pkg.name + path.slice(1);
    return [...namesOf(file)].flatMap((name) => {
      const declarations = find(file, name);
      if (declarations.length === 0) throw new Error(`Expected a declaration of ${name} of ${entry}, got none.`);
      return declarations.flatMap((declaration) => documented(entry, name, declaration, seen));
    });
  });
}

/** Returns the comment's text and tags. A tag begins a line. */
export function parseDoc(comment: string): Doc {
  const lines = comment.split('\n').map((line) => line.replace(/^\s*\*? ?/, ''));
  const [text, ...tags] = lines.join('\n').split(/^@(?=\w)/m);
  return {
    text: text.trim(),
    tags: tags.map((part) => {
      const [, tag, rest] = /^(\w+)\s*([^]*?)\s*$/.exec(part)!;
      return { tag, text: rest };
    }),
  };
}

function documented(entry: string, name: string, declaration: Declaration, seen: Set<Node>): Documented[] {
  const { file, node } = declaration;
  if (seen.has(node)) return [];
  seen.add(node);
  const doc = docOf(declaration);
  const value = (callable: Node): Documented => ({ entry, name, ...signature(name, callable), doc });
  const plain: Documented = { entry, name, kind: 'other', params: [], isVoid: true, doc };
  const member = (key: Node, inner: Node): Documented[] =>
    documented(entry, `${name}.${key.name ?? key.value}`, { file, node: inner, start: inner.start }, seen);

  switch (node.type) {
    case 'TSDeclareFunction':
    case 'TSMethodSignature':
      return [value(node)];
    case 'VariableDeclarator': {
      const type = functionType(file, node.id.typeAnnotation?.typeAnnotation);
      return [type === undefined ? plain : value(type)];
    }
    case 'TSTypeAliasDeclaration': {
      const type = functionType(file, node.typeAnnotation);
      return [type === undefined ? plain : value(type), ...signaturesIn(node.typeAnnotation).flatMap(byKey)];
    }
    case 'TSInterfaceDeclaration':
      return [
        plain,
        ...inherited(node.extends),
        ...node.body.body.flatMap((each: Node) => signaturesIn(each)).flatMap(byKey),
      ];
    case 'ClassDeclaration':
      return [{ ...plain, kind: 'class' }, ...node.body.body.flatMap((each: Node) => byKey(each))];
    case 'MethodDefinition':
    case 'TSAbstractMethodDefinition':
      if (node.kind === 'constructor') return [plain];
      return [{ ...value(node.value), ...(node.kind === 'get' && { kind: 'getter' as const }) }];
    case 'PropertyDefinition':
    case 'TSPropertySignature':
      return [plain];
    default:
      throw new Error(`Expected a declaration that this test knows, got ${node.type} of ${name}.`);
  }

  function byKey(each: Node): Documented[] {
    const isPrivate = each.accessibility === 'private' || each.key.type === 'PrivateIdentifier';
    return isPrivate ? [] : member(each.key, each);
  }

  /** Members of interfaces that are not exported are shown to users as those of the ones that are. */
  function inherited(parents: readonly Node[]): Documented[] {
    return parents.flatMap(({ expression }) =>
      expression.type === 'Identifier'
        ? find(file, expression.name).flatMap((parent) => documented(entry, expression.name, parent, seen))
        : [],
    );
  }
}

/** Returns the properties and methods in a type, at any depth, except those in the parameters of functions. */
function signaturesIn(node: Node): Node[] {
  if (Array.isArray(node)) return node.flatMap(signaturesIn);
  if (typeof node !== 'object' || node === null) return [];
  const isOne = node.type === 'TSPropertySignature' || node.type === 'TSMethodSignature';
  if (node.type === 'TSMethodSignature' || node.type === 'TSFunctionType') return isOne ? [node] : [];
  return [...(isOne ? [node] : []), ...Object.values(node).flatMap(signaturesIn)];
}

function signature(name: string, { params, returnType }: Node): Pick<Documented, 'kind' | 'params' | 'isVoid'> {
  const names = params.flatMap((param: Node): string[] => {
    if (param.type === 'Identifier') return param.name === 'this' ? [] : [param.name];
    if (param.type !== 'RestElement') throw new Error(`Expected a name for each parameter of ${name}, got a pattern.`);
    const type = param.typeAnnotation.typeAnnotation;
    return type.type === 'TSTupleType' ? type.elementTypes.map((each: Node) => each.label.name) : [param.argument.name];
  });
  return { kind: 'function', params: names, isVoid: returnType.typeAnnotation.type === 'TSVoidKeyword' };
}

/** Returns a function type, after aliases, or undefined. */
function functionType(file: string, type: Node): Node | undefined {
  if (type?.type === 'TSFunctionType') return type;
  let found: readonly Declaration[] = [];
  if (type?.type === 'TSImportType') found = find(pathOf(file, type.source.value), type.qualifier.name);
  if (type?.type === 'TSTypeReference') found = find(file, type.typeName.name);
  const [alias] = found;
  return alias?.node.type === 'TSTypeAliasDeclaration'
    ? functionType(alias.file, alias.node.typeAnnotation)
    : undefined;
}

/** Returns the names that a file exports. */
function namesOf(file: string): Set<string> {
  const { exports, all } = read(file);
  return new Set([...exports.keys(), ...all.flatMap((other) => [...namesOf(other)])]);
}

/** Returns the declarations of a name that a file exports, imports or has: several for overloads. */
function find(file: string, name: string): readonly Declaration[] {
  const { exports, imports, locals, all } = read(file);
  const source = exports.get(name) ?? imports.get(name);
  if (source?.file !== undefined) return find(source.file, source.name);
  const local = locals.get(source?.name ?? name);
  if (local !== undefined) return local;
  const other = all.find((each) => namesOf(each).has(name));
  return other === undefined ? [] : find(other, name);
}

const pathOf = (file: string, source: string): string => resolve(dirname(file), source.replace(/\.js$/, '.d.ts'));

function read(file: string): Module {
  const known = modules.get(file);
  if (known !== undefined) return known;
  const text = readFileSync(file, 'utf8');
  const { program, comments, errors } = parseSync(file, text, { lang: 'dts', astType: 'ts' });
  if (errors.length > 0) throw new Error(`${file}: ${errors[0].message}`);
  const exports = new Map<string, Source>();
  const imports = new Map<string, Source>();
  const locals = new Map<string, Declaration[]>();
  const all: string[] = [];
  for (const statement of program.body as Node[]) {
    const from = statement.source === undefined || statement.source === null ? undefined : statement.source.value;
    const source = from?.startsWith('.') ? { file: pathOf(file, from) } : {};
    if (statement.type === 'ImportDeclaration') {
      for (const { imported, local } of statement.specifiers) {
        if (imported !== undefined && from.startsWith('.')) imports.set(local.name, { ...source, name: imported.name });
      }
    } else if (statement.type === 'ExportAllDeclaration') all.push(source.file!);
    else {
      for (const { local, exported } of statement.specifiers ?? []) {
        exports.set(exported.name, { ...source, name: local.name });
      }
      const declaration = statement.declaration ?? (statement.type.startsWith('Export') ? undefined : statement);
      for (const node of declaration?.declarations ?? (declaration ? [declaration] : [])) {
        const { name } = node.id ?? {};
        if (name === undefined) continue;
        locals.set(name, [...(locals.get(name) ?? []), { file, node, start: statement.start }]);
        if (statement.declaration) exports.set(name, { name });
      }
    }
  }
  const module = { text, comments, exports, imports, locals, all };
  modules.set(file, module);
  return module;
}

/** Returns the JSDoc comment that ends right before a declaration. */
function docOf({ file, start }: Declaration): Doc {
  const { text, comments } = read(file);
  const own = comments.findLast(({ value, end }) => value.startsWith('*') && end <= start);
  return parseDoc(own !== undefined && text.slice(own.end, start).trim() === '' ? own.value.slice(1) : '');
}
