// Self-test of one core: loads a program through the registers, streams its input with stalls, compares the output.
// Prints PASSED, or FAILED and ends with an error. Plain files, no plusargs; +dump writes selftest.vcd.

`timescale 1ns / 1ns

module blockcim_selftest;
  localparam STREAM = @STREAM@;
  localparam PROGRAM = @PROGRAM@;
  localparam INPUTS = @INPUTS@;
  localparam OUTPUTS = @OUTPUTS@;
  localparam TIMEOUT = @TIMEOUT@;

  reg clk = 0;
  reg rst = 1;
  always #5 clk = ~clk;

  reg [4:0] reg_addr = 0;
  reg reg_we = 0;
  reg [31:0] reg_wdata = 0;
  wire [31:0] reg_rdata;
  wire in_ready, out_valid, out_last, irq, busy;
  wire [STREAM-1:0] out_data;

  reg [31:0] code[0:PROGRAM-1];
  reg [STREAM-1:0] inputs[0:INPUTS-1];
  reg [STREAM-1:0] outputs[0:OUTPUTS-1];
  integer sent = 0, got = 0, errors = 0, cycle = 0, i = 0;

  // The source pauses after some beats, the sink in some cycles; a beat that is offered stays.
  reg pause = 0, sink = 0;
  wire in_valid = busy && sent < INPUTS && !pause;
  wire out_ready = sink;
  wire [STREAM-1:0] in_data = inputs[sent < INPUTS ? sent : 0];

  blockcim_core core (
      .clk(clk), .rst(rst), .first_tile(18'd0), .soft_reset(1'b0), .in_busy(), .halted(),
      .reg_addr(reg_addr), .reg_we(reg_we), .reg_wdata(reg_wdata), .reg_rdata(reg_rdata),
      .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data),
      .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data), .out_last(out_last),
      .irq(irq), .busy(busy)
  );

  always @(posedge clk) begin
    cycle <= cycle + 1;
    sink <= cycle % 5 != 3;
    pause <= in_valid && in_ready && sent % 7 == 2;
    if (in_valid && in_ready) sent <= sent + 1;
    if (out_valid && out_ready) begin
      if (got >= OUTPUTS) fail("a beat too many", got);
      else begin
        if (out_data !== outputs[got]) fail("wrong output beat", got);
        if (out_last !== (got == OUTPUTS - 1)) fail("wrong last mark of output beat", got);
      end
      got <= got + 1;
    end
  end

  task fail(input [8*40-1:0] what, input integer where);
    begin
      $display("selftest: %0s %0d", what, where);
      errors = errors + 1;
    end
  endtask

  task write_reg(input [4:0] addr, input [31:0] value);
    begin
      @(negedge clk);
      reg_addr = addr;
      reg_wdata = value;
      reg_we = 1;
      @(negedge clk);
      reg_we = 0;
    end
  endtask

  task check_reg(input [8*40-1:0] name, input [4:0] addr, input [31:0] value);
    begin
      @(negedge clk);
      reg_addr = addr;
      @(negedge clk);
      if (reg_rdata !== value) fail(name, reg_rdata);
    end
  endtask

  initial begin
@PROGRAM_DATA@
@INPUT_DATA@
@OUTPUT_DATA@
    if ($test$plusargs("dump")) begin
      $dumpfile("selftest.vcd");
      $dumpvars(0, blockcim_selftest);
    end
    repeat (4) @(negedge clk);
    rst = 0;
    check_reg("ID is", @ID@, @MAGIC@);
    check_reg("CONFIG_HASH is", @CONFIG_HASH@, @HASH@);
    write_reg(@PROG_ADDR@, 0);
    for (i = 0; i < PROGRAM; i = i + 1) write_reg(@PROG_DATA@, code[i]);
    write_reg(@IRQ_ENABLE@, 1);
    write_reg(@CTRL@, 1);
    cycle = 0;
    while (!irq && cycle < TIMEOUT) @(negedge clk);
    if (!irq) fail("no end after cycles", cycle);
    check_reg("STATUS is", @STATUS@, 2);
    check_reg("ERROR is", @ERROR@, 0);
    if (sent != INPUTS) fail("input beats taken", sent);
    if (got != OUTPUTS) fail("output beats", got);
    if (errors != 0) $fatal(1, "selftest: FAILED, %0d errors", errors);
    $display("selftest: PASSED, %0d beats in, %0d out", sent, got);
    $finish;
  end
endmodule
