// Simulation top of what has a serial line (@TOP@): clock, reset, a monitor of the line, time-out.
//
// Plusargs:
//   +out=FILE      what comes over the line, byte by byte; the run is over after a line PASS or FAIL
//   +timeout=N     cycles after which the run is given up
//   +dump=FILE     wave dump
// `rx` and `tx` are the line, for a bench that talks; `running` is high after reset; `finished` rises at the end.

`timescale 1ns / 1ns

module blockcim_sim;
  localparam DIVISOR = @DIVISOR@;

  reg clk = 0;
  reg rst = 1;
  reg running = 0;
  reg finished = 0;
  reg rx = 1;
  wire tx;
  always #5 clk = ~clk;

  blockcim_@TOP@ top (.clk(clk), .rst(rst), .divisor(16'd@DIVISOR@), .rx(rx), .tx(tx));

  // A byte begins with a low line; its bits are read in their middles.
  reg [31:0] cycle = 0, limit = 32'hffffffff;
  reg [31:0] wait_ = 0;
  reg [3:0] left = 0;
  reg [7:0] byte_ = 0;
  reg [39:0] last = 0;  // five bytes
  integer out = 0;
  always @(posedge clk) begin
    cycle <= cycle + 1;
    if (cycle == limit) finished <= 1;
    if (left == 0) begin
      if (!tx) begin
        left <= 9;
        wait_ <= DIVISOR + DIVISOR / 2 - 1;
      end
    end else if (wait_ != 0) wait_ <= wait_ - 1;
    else begin
      wait_ <= DIVISOR - 1;
      left <= left - 1;
      if (left != 1) byte_ <= {tx, byte_[7:1]};
      else begin
        if (out != 0) begin
          $fwrite(out, "%c", byte_);
          $fflush(out);
        end
        last <= {last[31:0], byte_};
        if ({last[31:0], byte_} == "PASS\n" || {last[31:0], byte_} == "FAIL\n") finished <= 1;
      end
    end
  end

  reg [8*1024-1:0] name;
  initial begin
    if ($value$plusargs("dump=%s", name)) begin
      $dumpfile(name);
      $dumpvars(0, blockcim_sim);
    end
    if ($value$plusargs("out=%s", name)) out = $fopen(name, "wb");
    if (!$value$plusargs("timeout=%d", limit)) limit = 32'hffffffff;
    repeat (4) @(posedge clk);
    rst <= 0;
    running <= 1;
  end
endmodule
