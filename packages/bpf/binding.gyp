{
  "targets": [
    {
      "target_name": "weft_bpf",
      "sources": [
        "src/native/addon.cc",
        "src/native/attach.cc",
        "src/native/btf_layout.cc",
        "src/native/bpffs.cc",
        "src/native/errors.cc",
        "src/native/link.cc",
        "src/native/link_async.cc",
        "src/native/map.cc",
        "src/native/map_batch.cc",
        "src/native/object.cc",
        "src/native/probe.cc",
        "src/native/program.cc",
        "src/native/ring_buffer.cc",
        "src/native/sched.cc",
        "../../scripts/native/uv_poll.cc"
      ],
      "include_dirs": ["../../scripts/native", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS", "_GNU_SOURCE"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
      "cflags_cc": ["-std=c++17", "-fexceptions", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers"],
      "libraries": ["-lbpf"]
    }
  ]
}
