"""Prints what huggingface_hub answers for each pattern and path: python patterns.py > patterns.json"""

import json

import huggingface_hub
from huggingface_hub.utils import filter_repo_objects

PATTERNS = [
    "*", "?", "**", "*.json", "*.safetensors", "config.json", "config.jso?", "model-*.safetensors",
    "model-0000[12]-of-*.safetensors", "model-0000[!12]-of-*.safetensors", "original/", "original/*", "original",
    "original/**/*.pth", "*/config.json", "onnx/*", "*.bin", "*.BIN", ".*", ".gitattributes", "[.]*", "[!.]*",
    "[a-c]*", "[c-a]*", "[a-]*", "[-a]*", "[]]*", "[!]]*", "[]", "[", "[!", "[!]", "[^a]*", "[[]*", "[a&&b]*",
    "[a~~b]*", "[a||b]*", "[a--c]*", "[0-9]*", "[a-cx-z]*", "[a-c-z]*", "[!a-c]*", "*[0-9].json", "data\\*.json",
    "data\\", "", "/", " ", "*.md ", "a+b*", "a.b", "(a)|b", "^a$", "$a", "{a,b}", "é*", "*🙂*", "?🙂?", "模型/*",
    "a*b*c*d*e", "*a*a*a*a*b", "tokenizer*", "*token*", "*/", "?*/*", "*.*", "*.*.*", "README.md", "readme.md",
    "[\\d]*", "[a-\\]*", "a[b", "a[b/c]d", "a[!/]b", "**/*.json", "!*.json", "~*", "#*", "%20*", "model[.]bin",
]

PATHS = [
    "config.json", "Config.json", "README.md", ".gitattributes", ".hidden/file", "model.safetensors",
    "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors",
    "model.safetensors.index.json", "pytorch_model.bin", "original/consolidated.00.pth", "original/params.json",
    "original/deep/er/file.pth", "originals/file", "original", "onnx/model.onnx", "onnx/config.json",
    "data/a.json", "data/b/c.json", "data\\d.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "a", "b", "c", "z", "-", "]", "[", "^", "!", "&", "~", "|", "\\", "a+b", "a.b", "axb", "(a)|b", "^a$", "$a", "{a,b}",
    "abcde", "aXbXcXdXe", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "1.json", "x1.json", "a[b", "abd", "a/d", "acd", "a/b", "aXb",
    "é.json", "e\u0301.json", "模型/权重.bin", "x🙂y", "🙂", "with space.md ", " ", "new\nline.json", "~x", "#x", "%20x", "model.bin",
]


def answer(path: str, pattern: str) -> str:
    return "1" if list(filter_repo_objects([path], allow_patterns=[pattern])) else "0"


print(
    json.dumps(
        {
            "version": huggingface_hub.__version__,
            "paths": PATHS,
            "patterns": {pattern: "".join(answer(path, pattern) for path in PATHS) for pattern in PATTERNS},
        },
        indent=1,
    )
)
