{
  "targets": [
    {
      "target_name": "weft_tuntap",
      "sources": [
        "src/native/addon.cc",
        "src/native/frame_io.cc",
        "src/native/frame_log.cc",
        "src/native/frame_poller.cc",
        "src/native/generator.cc",
        "src/native/link_info.cc",
        "src/native/link_set.cc",
        "src/native/load_thread.cc",
        "src/native/netns.cc",
        "src/native/packet_socket.cc",
        "src/native/sink.cc",
        "src/native/tap.cc",
        "src/native/tcp_probe.cc",
        "src/native/udp_echo.cc",
        "../../scripts/native/uv_poll.cc"
      ],
      "include_dirs": ["../../scripts/native", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS", "_GNU_SOURCE"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
      "cflags_cc": ["-std=c++17", "-fexceptions", "-O2", "-Wall", "-Wextra"],
      "libraries": ["-lpthread"]
    }
  ]
}
